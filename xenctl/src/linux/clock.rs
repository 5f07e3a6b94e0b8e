//! The time of day of this machine's time zone, which std does not tell.

/// Seconds since midnight, local time.
pub fn time_of_day() -> u64 {
    // SAFETY: zeroes are a valid `tm`; both calls write only what they are given.
    let (answer, time) = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut time: libc::tm = std::mem::zeroed();
        (libc::localtime_r(&now, &mut time), time)
    };
    if answer.is_null() {
        return 0;
    }
    [(time.tm_hour, 3600), (time.tm_min, 60), (time.tm_sec, 1)]
        .iter()
        .map(|(n, seconds)| u64::try_from(*n).unwrap_or(0) * seconds)
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_day_has_so_many_seconds() {
        assert!(super::time_of_day() <= 86400);
    }
}
