"""The metrics once more, written out pixel by pixel with plain Python numbers.

Slow on purpose: nothing here is shared with the code under test.
"""

from __future__ import annotations

import math
import statistics


def depth_figures(prediction, depth, valid):
    pairs = [
        (float(p), float(t))
        for p_row, t_row, v_row in zip(prediction, depth, valid, strict=True)
        for p, t, v in zip(p_row, t_row, v_row, strict=True)
        if v
    ]
    n = len(pairs)
    logs = [math.log(p) - math.log(t) for p, t in pairs]
    mean_log = math.fsum(logs) / n

    def share(limit):
        return sum(max(p / t, t / p) < limit for p, t in pairs) / n

    return {
        'abs_rel': math.fsum(abs(p - t) / t for p, t in pairs) / n,
        'sq_rel': math.fsum((p - t) ** 2 / t for p, t in pairs) / n,
        'rmse': math.sqrt(math.fsum((p - t) ** 2 for p, t in pairs) / n),
        'rmse_log': math.sqrt(math.fsum(g * g for g in logs) / n),
        'log10': math.fsum(abs(math.log10(p) - math.log10(t)) for p, t in pairs) / n,
        'delta1': share(1.25),
        'delta2': share(1.25**2),
        'delta3': share(1.25**3),
        'silog': 100 * math.sqrt(math.fsum((g - mean_log) ** 2 for g in logs) / n),
        'i_rmse': math.sqrt(math.fsum((1 / p - 1 / t) ** 2 for p, t in pairs) / n),
    }


def aligned_depth(prediction, depth, valid, nearest, farthest):
    """Normal equations of the straight line, solved by Cramer's rule."""
    height, width = len(depth), len(depth[0])
    pixels = [(i, j) for i in range(height) for j in range(width)]
    used = [(i, j) for i, j in pixels if valid[i][j] and depth[i][j] > 0 and prediction[i][j] > 0]
    x = [float(prediction[i][j]) for i, j in used]
    y = [1 / float(depth[i][j]) for i, j in used]
    n, sx, sy = len(x), math.fsum(x), math.fsum(y)
    sxx = math.fsum(a * a for a in x)
    sxy = math.fsum(a * b for a, b in zip(x, y, strict=True))
    determinant = n * sxx - sx * sx
    scale = (n * sxy - sx * sy) / determinant
    shift = (sxx * sy - sx * sxy) / determinant
    result = [[0.0] * width for _ in range(height)]
    for i, j in pixels:
        metres = 1 / max(scale * float(prediction[i][j]) + shift, 1e-3)
        result[i][j] = min(max(metres, nearest), farthest)
    return result


def normal_figures(prediction, truth, valid):
    angles = []
    for p_row, t_row, v_row in zip(prediction, truth, valid, strict=True):
        for p, t, v in zip(p_row, t_row, v_row, strict=True):
            if v:
                dot = sum(float(a) * float(b) for a, b in zip(p, t, strict=True))
                p_norm = max(math.sqrt(sum(float(a) ** 2 for a in p)), 1e-8)
                t_norm = max(math.sqrt(sum(float(a) ** 2 for a in t)), 1e-8)
                cosine = min(max(dot / (p_norm * t_norm), -1.0), 1.0)
                angles.append(math.degrees(math.acos(cosine)))
    n = len(angles)
    figures = {
        'mean': math.fsum(angles) / n,
        'median': statistics.median(angles),
        'rmse': math.sqrt(math.fsum(a * a for a in angles) / n),
    }
    for limit in (5, 7.5, 11.25, 22.5, 30):
        figures[f'under_{limit:g}'] = 100 * sum(a < limit for a in angles) / n
    return figures


def boundary_figures(prediction, depth, known):
    """Precision, recall and F1 over ten thresholds, each weighted by itself."""
    height, width = len(depth), len(depth[0])
    thresholds = [1.05 + k * 0.2 / 9 for k in range(10)]
    total = [0.0, 0.0, 0.0]
    for limit in thresholds:
        precision = recall = 0.0
        for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            both = found = there = 0
            for i in range(height):
                for j in range(width):
                    u, v = i + step[0], j + step[1]
                    if not (0 <= u < height and 0 <= v < width and known[i][j] and known[u][v]):
                        continue
                    # This pixel is nearer than its neighbour by more than the threshold.
                    p = prediction[u][v] / prediction[i][j] > limit
                    t = depth[u][v] / depth[i][j] > limit
                    both, found, there = both + (p and t), found + p, there + t
            precision += both / max(found, 1) / 4
            recall += both / max(there, 1) / 4
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        for k, value in enumerate((precision, recall, f1)):
            total[k] += value * limit / sum(thresholds)
    return tuple(total)


def mean_power_by_ring(disparity, bins):
    """Power of the windowed image by the definition of the Fourier transform, ring by ring."""
    height, width = len(disparity), len(disparity[0])

    def hann(k, n):
        return 0.5 - 0.5 * math.cos(2 * math.pi * k / (n - 1))

    window = [[hann(i, height) * hann(j, width) for j in range(width)] for i in range(height)]
    weight = sum(map(sum, window))
    mean = sum(window[i][j] * disparity[i][j] for i in range(height) for j in range(width)) / weight
    energy = sum(w * w for row in window for w in row)
    rings = [[] for _ in range(bins)]
    for k in range(height):
        for m in range(width):
            real = imaginary = 0.0
            for i in range(height):
                for j in range(width):
                    value = (disparity[i][j] - mean) * window[i][j]
                    angle = -2 * math.pi * (k * i / height + m * j / width)
                    real += value * math.cos(angle)
                    imaginary += value * math.sin(angle)
            fy = k / height if k < (height + 1) // 2 else k / height - 1
            fx = m / width if m < (width + 1) // 2 else m / width - 1
            ring = math.floor(math.hypot(fy, fx) * bins / 0.5)
            if ring < bins and (k, m) != (0, 0):
                rings[ring].append((real**2 + imaginary**2) / energy)
    return [sum(ring) / len(ring) if ring else None for ring in rings]
