//! Medians, and the JSON they are printed as.

use std::fmt::Write;

use crate::xen::Memory;

#[derive(Debug, PartialEq)]
pub struct Measured {
    /// Nanoseconds per iteration, of the median round.
    pub ns: f64,
    /// All rounds.
    pub total_ns: u64,
    pub iterations: u64,
}

impl Measured {
    pub fn new(iterations: u64, rounds_ns: &[u64]) -> Self {
        let mut sorted = rounds_ns.to_vec();
        sorted.sort_unstable();
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle] as f64
        } else {
            (sorted[middle - 1] + sorted[middle]) as f64 / 2.0
        };
        Self { ns: median / iterations as f64, total_ns: sorted.iter().sum(), iterations }
    }
}

/// Names are plain words; nothing needs escaping.
pub fn json(rounds: usize, results: &[(&str, Option<Measured>)], memory: Option<&Memory>) -> String {
    let mut text = format!("{{\"rounds\": {rounds}, \"operations\": {{");
    for (i, (name, measured)) in results.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}\"{name}\": ");
        let _ = match measured {
            Some(m) => write!(
                text,
                "{{\"ns\": {:.2}, \"total_ns\": {}, \"iterations\": {}}}",
                m.ns, m.total_ns, m.iterations
            ),
            None => write!(text, "\"absent\""),
        };
    }
    text.push('}');
    if let Some(Memory { total, free, own, guests, guests_own }) = memory {
        let _ = write!(
            text,
            ", \"memory\": {{\"total_pages\": {total}, \"free_pages\": {free}, \"own_pages\": {own}, \
             \"guests\": {guests}, \"guests_pages\": {guests_own}}}"
        );
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_an_outlier() {
        let m = Measured::new(10, &[100, 5000, 120]);
        assert_eq!(m, Measured { ns: 12.0, total_ns: 5220, iterations: 10 });
        assert_eq!(Measured::new(1, &[10, 20]).ns, 15.0);
    }

    #[test]
    fn absent_operations_are_named() {
        let text = json(3, &[("a", Some(Measured::new(2, &[4]))), ("b", None)], None);
        assert_eq!(
            text,
            "{\"rounds\": 3, \"operations\": {\"a\": {\"ns\": 2.00, \"total_ns\": 4, \"iterations\": 2}, \"b\": \"absent\"}}"
        );
    }
}
