"""Images at another resolution, or read at computed places; and their patches as columns. All linear in the image.

Average pools and interpolation are one op: a matrix product on each axis, whose matrices are `tables.py`'s.
Next on the way: `norm.py`.
"""

from __future__ import annotations


def resample2d(xp, x, *, rows, columns):
    """y[n, c] = A x[n, c] B^T, A and B the matrices of the tables `rows` and `columns`.     dx = A^T g B"""
    down, across = rows.turn(), columns.turn()
    return xp.resample2d(x, rows=rows, columns=columns), (lambda g: xp.resample2d(g, rows=down, columns=across),)


def unfold(xp, x, *, kernel, stride, padding, dilation):
    """(N, C, H, W) -> (N, C KH KW, L): every patch a column.     dx = g folded (this is `fold` in reverse)"""
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    hw = x.shape[2:]
    return xp.unfold(x, **windows), (lambda g: xp.fold(g, hw=hw, **windows),)


def fold(xp, x, *, hw, kernel, stride, padding, dilation):
    """(N, C KH KW, L) -> (N, C, *hw): columns added up where their patches lay.     dx = g unfolded"""
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return xp.fold(x, hw=hw, **windows), (lambda g: xp.unfold(g, **windows),)


def grid_sample(xp, x, grid, *, mode, padding_mode, align_corners):
    """y[n, c, i, j] = x[n, c] at the place grid[n, i, j] = (gx, gy), from -1 to 1 over the image, between its pixels.

    dx = g by the same weights     dgrid = sum over c of g times the slope of y.     Jaderberg et al. 2015
    """
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    hw = x.shape[2:]
    return xp.grid_sample(x, grid, **options), (
        lambda g: xp.grid_sample_dx(g, grid, hw=hw, **options),
        lambda g: xp.grid_sample_dgrid(g, x, grid, **options),
    )


def pixels(xp, x, index):
    """y[n, c, i, j] = x[n, c] at pixel index[n, i, j] = row W + column.     dx = g added there"""
    hw = x.shape[2:]
    return xp.pixels(x, index), (lambda g: xp.pixels_back(g, index, hw=hw), None)


def pixels_back(xp, g, index, *, hw):
    """Zeros (N, C, *hw) with g added at the pixels: `pixels` in reverse.     dg = h read there"""
    return xp.pixels_back(g, index, hw=hw), (lambda h: xp.pixels(h, index), None)
