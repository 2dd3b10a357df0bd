"""One step of an optimiser over lists of arrays: the definitions. A backend may replace each by one kernel.

`ws` are the weights, written in place; `gs` their gradients, only read; the other lists are the optimiser's memory,
written in place. What changes from step to step (learning rate, momentum, step count) arrives in `hyper`, a small
float64 array, so that a recorded step can be replayed with other numbers. Here it is read back as Python floats
(`numbers`); kernels read it where it lies. The optimisers themselves stand in `optim/`.

Every step takes two more things that only the machine knows, or None for either. skip: (a flag, how many steps were
skipped before), 0-d int32 arrays: a flag of 1 leaves everything as it is. clip: (norm, max_norm), a 0-d float and a
number: g is read as g min(1, max_norm / (norm + 1e-6)), as `clip_norm_` would have left it (`gradients.py`).
"""

from __future__ import annotations

from math import sqrt

from .wide import wide_type


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

    def _step(self, new, skip, clip, ws, gs, *memory):
        """w, *memory <- new(w, g, *memory) for each parameter; what is not remembered (an empty list) is None.

        16-bit floats are computed in float32 and rounded once, as they are written.
        """
        if skip is not None and self.numbers(skip[0]):
            return
        scale = None if clip is None else self.clip_scale(*clip)
        for w, g, *kept in zip(ws, gs, *(m or [None] * len(ws) for m in memory), strict=True):
            kind = wide_type(w.dtype)
            given = [None if a is None else self.cast(a, dtype=kind) for a in (w, g, *kept)]
            if scale is not None:
                given[1] = self.mul(given[1], self.cast(scale, dtype=kind))
            for a, value in zip((w, *kept), new(*given), strict=True):
                if a is not None:
                    self.write_(a, self.cast(value, dtype=a.dtype))

    def sgd_(self, ws, gs, vs, hyper, nesterov, skip=None, clip=None):
        """d = g + decay w;  v <- m v + (1 - dampening) d;  d = d + m v if nesterov, else v;  w <- w - lr d

        At the first step dampening is 0. hyper: lr, m (momentum), dampening, decay, step (1 at the first; what was
        skipped before is taken off). `vs` is empty without momentum: d stays as it is.
        """
        lr, m, dampening, decay, step = self.numbers(hyper)
        step -= 0 if skip is None else self.numbers(skip[1])
        fresh = 1 - dampening if step > 1 else 1

        def new(w, d, v):
            if decay:
                d = self.add(d, self.mul(w, decay))
            if v is not None:
                v = self.add(self.mul(v, m), d if fresh == 1 else self.mul(d, fresh))
                d = self.add(d, self.mul(v, m)) if nesterov else v
            return self.sub(w, self.mul(d, lr)), v

        self._step(new, skip, clip, ws, gs, vs)

    def adam_(self, ws, gs, ms, vs, hyper, decoupled, skip=None, clip=None):
        """m <- lerp(m, g, 1 - beta1);  v <- lerp(v, g^2, 1 - beta2)
        w <- w - lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)

        hyper: lr, beta1, beta2, eps, decay, step (1 at the first; what was skipped before is taken off). Decay:
        w <- (1 - lr decay) w before all else if decoupled, else g + decay w in place of g.
        """
        lr, beta1, beta2, eps, decay, step = self.numbers(hyper)
        step -= 0 if skip is None else self.numbers(skip[1])
        rate, root = lr / (1 - beta1**step), sqrt(1 - beta2**step)

        def new(w, g, m, v):
            if decay and decoupled:
                w = self.mul(w, 1 - lr * decay)
            elif decay:
                g = self.add(g, self.mul(w, decay))
            m = self._lerp(m, g, 1 - beta1)
            v = self._lerp(v, self.mul(g, g), 1 - beta2)
            size = self.add(self.mul(self.sqrt(v), 1 / root), eps)
            return self.sub(w, self.mul(self.div(m, size), rate)), m, v

        self._step(new, skip, clip, ws, gs, ms, vs)

    def rmsprop_(self, ws, gs, ss, ms, vs, hyper, skip=None, clip=None):
        """d = g + decay w;  s <- lerp(s, d^2, 1 - alpha);  m <- lerp(m, d, 1 - alpha)
        d = d / (sqrt(s - m^2) + eps);  v <- momentum v + d;  w <- w - lr v

        hyper: lr, alpha, eps, decay, momentum. `ms` is empty unless centered: no m^2; `vs` is empty without momentum: d
        instead of v.
        """
        lr, alpha, eps, decay, momentum = self.numbers(hyper)

        def new(w, d, s, m, v):
            if decay:
                d = self.add(d, self.mul(w, decay))
            var = s = self._lerp(s, self.mul(d, d), 1 - alpha)
            if m is not None:
                m = self._lerp(m, d, 1 - alpha)
                var = self.maximum(self.sub(s, self.mul(m, m)), 0.0)  # rounding may leave -1e-17
            d = self.div(d, self.add(self.sqrt(var), eps))
            if v is not None:
                d = v = self.add(self.mul(v, momentum), d)
            return self.sub(w, self.mul(d, lr)), s, m, v

        self._step(new, skip, clip, ws, gs, ss, ms, vs)

    def _lerp(self, x, y, t):
        return self.add(self.mul(x, 1 - t), self.mul(y, t))
