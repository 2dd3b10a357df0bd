"""One step of an optimiser over lists of arrays: the definitions. A backend may replace each by one kernel.

`ws` are the weights, written in place; `gs` their gradients, only read; the other lists are the optimiser's memory,
written in place. What changes from step to step (learning rate, momentum, step count) arrives in `hyper`, a small
float64 array, so that a recorded step can be replayed with other numbers. Here it is read back as Python floats
(`numbers`); kernels read it where it lies. The optimisers themselves stand in `optim/`.
"""

from __future__ import annotations

from math import sqrt


class Updates:
    """What `Composed` says of optimisers. Sources: as PyTorch computes them, see `optim/`."""

    def add_(self, x, y):
        """x <- x + y"""
        self.write_(x, self.add(x, y))

    def mul_(self, x, y):
        """x <- x y"""
        self.write_(x, self.mul(x, y))

    def lerp_(self, x, y, t):
        """x <- (1 - t) x + t y"""
        self.mul_(x, 1 - t)
        self.add_(x, self.mul(y, t))

    def sgd_(self, ws, gs, vs, hyper, nesterov):
        """d = g + decay w;  v <- m v + fresh d;  d = d + m v if nesterov, else v;  w <- w - lr d

        hyper: lr, m (momentum), fresh (1 - dampening), decay. `vs` is empty without momentum: d stays as it is.
        """
        lr, m, fresh, decay = self.numbers(hyper)
        for i, (w, d) in enumerate(zip(ws, gs, strict=True)):
            if decay:
                d = self.add(d, self.mul(w, decay))
            if vs:
                self.mul_(vs[i], m)
                self.add_(vs[i], d if fresh == 1 else self.mul(d, fresh))
                d = self.add(d, self.mul(vs[i], m)) if nesterov else vs[i]
            self.add_(w, self.mul(d, -lr))

    def adam_(self, ws, gs, ms, vs, hyper, decoupled):
        """m <- lerp(m, g, 1 - beta1);  v <- lerp(v, g^2, 1 - beta2)
        w <- w - lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)

        hyper: lr, beta1, beta2, eps, decay, step (1 at the first). Decay: w <- (1 - lr decay) w before all else if
        decoupled, else g + decay w in place of g.
        """
        lr, beta1, beta2, eps, decay, step = self.numbers(hyper)
        rate, root = lr / (1 - beta1**step), sqrt(1 - beta2**step)
        for w, g, m, v in zip(ws, gs, ms, vs, strict=True):
            if decay and decoupled:
                self.mul_(w, 1 - lr * decay)
            elif decay:
                g = self.add(g, self.mul(w, decay))
            self.lerp_(m, g, 1 - beta1)
            self.lerp_(v, self.mul(g, g), 1 - beta2)
            size = self.add(self.mul(self.sqrt(v), 1 / root), eps)
            self.add_(w, self.mul(self.div(m, size), -rate))

    def rmsprop_(self, ws, gs, ss, ms, vs, hyper):
        """d = g + decay w;  s <- lerp(s, d^2, 1 - alpha);  m <- lerp(m, d, 1 - alpha)
        d = d / (sqrt(s - m^2) + eps);  v <- momentum v + d;  w <- w - lr v

        hyper: lr, alpha, eps, decay, momentum. `ms` is empty unless centered: no m^2; `vs` is empty without momentum: d
        instead of v.
        """
        lr, alpha, eps, decay, momentum = self.numbers(hyper)
        for i, (w, d, s) in enumerate(zip(ws, gs, ss, strict=True)):
            if decay:
                d = self.add(d, self.mul(w, decay))
            self.lerp_(s, self.mul(d, d), 1 - alpha)
            var = s
            if ms:
                self.lerp_(ms[i], d, 1 - alpha)
                var = self.maximum(self.sub(s, self.mul(ms[i], ms[i])), 0.0)  # rounding may leave -1e-17
            d = self.div(d, self.add(self.sqrt(var), eps))
            if vs:
                self.mul_(vs[i], momentum)
                self.add_(vs[i], d)
                d = vs[i]
            self.add_(w, self.mul(d, -lr))
