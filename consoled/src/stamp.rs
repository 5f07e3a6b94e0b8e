//! The time as logs have it.

/// `[2026-11-23 22:17:47] `, local time.
pub fn now() -> String {
    jiff::Zoned::now().strftime("[%Y-%m-%d %H:%M:%S] ").to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn has_one_length() {
        let stamp = super::now();
        assert_eq!(stamp.len(), "[2026-11-23 22:17:47] ".len(), "{stamp}");
    }
}
