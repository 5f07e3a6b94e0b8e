//! Pairwise covering: few rows in which each value of each property meets each value of every other.

use std::collections::BTreeSet;

/// A value of one property and a value of a later one.
type Pair = ((usize, usize), (usize, usize));

/// Rows of one value's index a property, property `p` having `sizes[p]` values.
///
/// Greedy: a row starts with the first pair that has not met yet; each other property then takes the value
/// that adds most. The same sizes give the same rows.
pub fn cover(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut missing: BTreeSet<Pair> = BTreeSet::new();
    for (p, &n) in sizes.iter().enumerate() {
        for (q, &m) in sizes.iter().enumerate().skip(p + 1) {
            missing.extend((0..n).flat_map(|v| (0..m).map(move |w| ((p, v), (q, w)))));
        }
    }
    let mut rows = Vec::new();
    while let Some(&((p, v), (q, w))) = missing.first() {
        let mut row: Vec<Option<usize>> = vec![None; sizes.len()];
        (row[p], row[q]) = (Some(v), Some(w));
        // Properties of many values first: their pairs are the hardest to place.
        let mut order: Vec<usize> = (0..sizes.len()).filter(|&r| r != p && r != q).collect();
        order.sort_by_key(|&r| std::cmp::Reverse(sizes[r]));
        for r in order {
            let gain = |value: usize| {
                let met = |(s, chosen): (usize, &Option<usize>)| {
                    chosen.is_some_and(|c| missing.contains(&((r, value), (s, c)).min(((s, c), (r, value)))))
                };
                row.iter().enumerate().filter(|&other| met(other)).count()
            };
            // Of equal gains the row's number chooses, so that values take turns.
            let turn = |value: usize| (value + sizes[r] - rows.len() % sizes[r]) % sizes[r];
            row[r] = (0..sizes[r]).max_by_key(|&value| (gain(value), std::cmp::Reverse(turn(value))));
        }
        let row: Vec<usize> = row.into_iter().map(|value| value.unwrap_or(0)).collect();
        for p in 0..row.len() {
            for q in p + 1..row.len() {
                missing.remove(&((p, row[p]), (q, row[q])));
            }
        }
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::cover;

    #[test]
    fn every_pair_meets_in_few_rows() {
        let sizes = [2, 2, 2, 6, 5, 3, 4, 2];
        let rows = cover(&sizes);
        for p in 0..sizes.len() {
            for q in p + 1..sizes.len() {
                for (v, w) in (0..sizes[p]).flat_map(|v| (0..sizes[q]).map(move |w| (v, w))) {
                    assert!(rows.iter().any(|r| r[p] == v && r[q] == w), "{p}={v} never meets {q}={w}");
                }
            }
        }
        // 30 is the least: the two largest properties alone need it.
        assert!((30..=40).contains(&rows.len()), "{} rows", rows.len());
    }
}
