"""Merges regions greedily under a planar model, until a merge costs more than it saves.

Regions are described by sums over their pixels, which add when regions merge, so no merge looks
at a pixel. A sum vector holds, over the pixels of a region,
`n, x, y, q, xx, xy, yy, xq, yq, qq`, where x and y are the column and row and q is the modelled
value.
"""

import numpy as np

from psp_jax.partition import compilation

SUMS = 10  # Entries of a sum vector, in the order above.
# Share of a coordinate's mean square below which it counts as explained by the others: pixels of
# one row, one column or one line leave a plane undetermined.
COLLINEAR = 1e-9


@compilation.compile_cached
def region_sums(labels, values, regions):
    """Adds up the sum vector of every region.

    Args:
        labels: `[H, W]` int32 in 0..regions-1.
        values: `[H, W]` float64, the modelled values.
        regions: number of regions.

    Returns:
        `[regions, 10]` float64.
    """
    sums = np.zeros((regions, SUMS))
    height, width = labels.shape
    for row in range(height):
        y, last = np.float64(row), 0
        while last < width:  # One run of equal labels after the other.
            first, label = last, labels[row, last]
            region = sums[label]
            sum_q, sum_xq, sum_yq, sum_qq = region[3], region[7], region[8], region[9]
            while last < width and labels[row, last] == label:
                q = values[row, last]
                sum_q += q
                sum_xq += np.float64(last) * q
                sum_yq += y * q
                sum_qq += q * q
                last += 1
            region[3], region[7], region[8], region[9] = sum_q, sum_xq, sum_yq, sum_qq
            n, x = last - first, (last - first) * (first + last - 1) // 2
            xx = ((last - 1) * last * (2 * last - 1) - (first - 1) * first * (2 * first - 1)) // 6
            region[0] += n
            region[1] += x
            region[2] += y * n
            region[4] += xx
            region[5] += y * x
            region[6] += y * y * n
    return sums


@compilation.compile_cached
def plane(sums):
    """Fits `q = slope_x * x + slope_y * y + offset` by least squares.

    A slope that the pixels leave undetermined (they lie on one line) is 0.

    Args:
        sums: `[10]` float64, the sum vector of at least one pixel.

    Returns:
        slope_x, slope_y, offset and the squared error that is left, summed over the pixels.
    """
    n = sums[0]
    x, y, q = sums[1] / n, sums[2] / n, sums[3] / n
    xx, xy, yy = sums[4] - n * x * x, sums[5] - n * x * y, sums[6] - n * y * y
    xq, yq, qq = sums[7] - n * x * q, sums[8] - n * y * q, sums[9] - n * q * q
    slope_x, slope_y, shear = 0.0, 0.0, 0.0
    error = qq
    # x first, then what x leaves of y: Gauss elimination on the centred sums.
    if xx > COLLINEAR * sums[4]:
        slope_x = xq / xx
        shear = xy / xx
        error -= slope_x * xq
        yy -= shear * xy
        yq -= shear * xq
    if yy > COLLINEAR * sums[6]:
        slope_y = yq / yy
        slope_x -= shear * slope_y
        error -= slope_y * yq
    return slope_x, slope_y, q - slope_x * x - slope_y * y, max(error, 0.0)


@compilation.compile_cached
def planes(sums):
    """Fits the planes of all regions, `[R, 3]` as `plane` does; 0 for a region without pixels."""
    fitted = np.zeros((sums.shape[0], 3))
    for region in range(sums.shape[0]):
        if sums[region, 0] > 0:
            fitted[region, 0], fitted[region, 1], fitted[region, 2], _ = plane(sums[region])
    return fitted


def adjacency(labels: np.ndarray, regions: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists the pairs of regions that touch, with the length of their common frontier.

    Args:
        labels: `[H, W]` int32 in 0..regions-1.
        regions: number of regions.

    Returns:
        `[E, 2]` int64 pairs, first < second, sorted; and `[E]` int64, the number of inter-pixel
        (crack) edges between the two.
    """
    return _adjacency(labels, regions)


@compilation.compile_cached
def _adjacency(labels, regions):
    height, width = labels.shape
    first, second = np.empty((2, 2 * labels.size), np.int32)
    number = 0
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            for other in (
                labels[row, min(column + 1, width - 1)],
                labels[min(row + 1, height - 1), column],
            ):
                if other != label:
                    first[number], second[number] = min(label, other), max(label, other)
                    number += 1
    order = _sort(first, _sort(second, np.arange(number), regions), regions)
    pairs, cracks = np.empty((number, 2), np.int64), np.empty(number, np.int64)
    used = 0
    for crack in order:
        if used == 0 or pairs[used - 1, 0] != first[crack] or pairs[used - 1, 1] != second[crack]:
            pairs[used, 0], pairs[used, 1], cracks[used] = first[crack], second[crack], 0
            used += 1
        cracks[used - 1] += 1
    return pairs[:used].copy(), cracks[:used].copy()


@compilation.compile_cached
def _sort(keys, order, regions):
    """Sorts indices stably by their keys, which are regions, by counting."""
    place = np.zeros(regions + 1, np.int64)
    for index in order:
        place[keys[index] + 1] += 1
    for region in range(regions):
        place[region + 1] += place[region]
    ordered = np.empty_like(order)
    for index in order:
        ordered[place[keys[index]]] = index
        place[keys[index]] += 1
    return ordered


@compilation.compile_cached
def merge_greedily(sums, pairs, cracks, trade):
    """Merges the pair with the least rise of squared error per crack edge removed, repeatedly.

    It stops when the least rise exceeds `trade`. Ties go to the pair listed first. It is one long
    function because every step changes the sums, the chains and the heap together.

    Args:
        sums: `[R, 10]` float64 sum vectors.
        pairs: `[E, 2]` int64, every two touching regions once.
        cracks: `[E]` int64 crack edges between them.
        trade: squared error, in the square of q's unit, that one crack edge may save.

    Returns:
        `[R]` int64: of every region the region it ended up in, one of its members.
    """
    regions, edges = sums.shape[0], pairs.shape[0]
    sums, cracks = sums.copy(), cracks.copy()
    owner = np.arange(regions)
    error, both = np.empty(regions), np.empty(SUMS)
    for region in range(regions):
        error[region] = plane(sums[region])[3]
    # Half-edge 2 * e + s is edge e seen from its end s; every region chains its half-edges.
    following = np.full(2 * edges, -1, np.int64)
    head = np.full(regions, -1, np.int64)
    tail = np.full(regions, -1, np.int64)
    # The heap holds every edge once: edges that are gone cost infinity.
    cost = np.empty(edges)
    heap = np.arange(edges)
    place = np.arange(edges)
    for edge in range(edges):
        for side in range(2):
            _chain(following, head, tail, pairs[edge, side], 2 * edge + side)
        cost[edge] = _rise(sums, error, pairs[edge, 0], pairs[edge, 1], both) / cracks[edge]
        _lift(heap, place, cost, edge)
    last_edge = np.full(regions, -1, np.int64)  # The edge by which a neighbour was last reached,
    last_step = np.full(regions, -1, np.int64)  # and the step at which it was.
    step = 0
    while edges > 0 and cost[heap[0]] <= trade:
        kept = find(owner, pairs[heap[0], 0])
        gone = find(owner, pairs[heap[0], 1])
        owner[gone] = kept
        for entry in range(SUMS):
            sums[kept, entry] += sums[gone, entry]
        error[kept] = plane(sums[kept])[3]
        following[tail[kept]] = head[gone]
        step += 1
        # First every edge to the same neighbour becomes one, then their costs are known.
        half = head[kept]
        head[kept] = -1
        while half >= 0:
            after = following[half]
            edge = half // 2
            other = find(owner, pairs[edge, 1 - half % 2])
            if cost[edge] == np.inf:
                pass  # It went earlier and is only left in the chain of its other end.
            elif other != kept and last_step[other] != step:
                last_step[other] = step
                last_edge[other] = edge
                _chain(following, head, tail, kept, half)
            else:
                if other != kept:
                    cracks[last_edge[other]] += cracks[edge]
                cost[edge] = np.inf
                _sink(heap, place, cost, edge)
            half = after
        half = head[kept]
        while half >= 0:
            edge = half // 2
            other = find(owner, pairs[edge, 1 - half % 2])
            cost[edge] = _rise(sums, error, kept, other, both) / cracks[edge]
            _lift(heap, place, cost, edge)
            _sink(heap, place, cost, edge)
            half = following[half]
    for region in range(regions):
        owner[region] = find(owner, region)
    return owner


@compilation.compile_cached
def find(owner, region):
    """Follows a region to the one it ended up in, shortening the path for the next call."""
    while owner[region] != region:
        owner[region] = owner[owner[region]]
        region = owner[region]
    return region


@compilation.compile_cached
def _chain(following, head, tail, region, half):
    """Puts a half-edge at the end of a region's chain."""
    following[half] = -1
    if head[region] < 0:
        head[region] = half
    else:
        following[tail[region]] = half
    tail[region] = half


@compilation.compile_cached
def _rise(sums, error, first, second, both):
    """Returns by how much the squared error rises if two regions are merged.

    `both` is room for a sum vector.
    """
    for entry in range(SUMS):
        both[entry] = sums[first, entry] + sums[second, entry]
    return plane(both)[3] - error[first] - error[second]


@compilation.compile_cached
def _before(cost, first, second):
    """Tells whether one edge comes before another: by cost, then by number."""
    return cost[first] < cost[second] or (cost[first] == cost[second] and first < second)


@compilation.compile_cached
def _lift(heap, place, cost, edge):
    """Moves an edge whose cost fell up the binary heap."""
    at = place[edge]
    while at > 0 and _before(cost, edge, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        place[heap[at]] = at
        at = (at - 1) // 2
    heap[at] = edge
    place[edge] = at


@compilation.compile_cached
def _sink(heap, place, cost, edge):
    """Moves an edge whose cost rose down the binary heap."""
    at = place[edge]
    while 2 * at + 1 < len(heap):
        child = 2 * at + 1
        if child + 1 < len(heap) and _before(cost, heap[child + 1], heap[child]):
            child += 1
        if not _before(cost, heap[child], edge):
            break
        heap[at] = heap[child]
        place[heap[at]] = at
        at = child
    heap[at] = edge
    place[edge] = at
