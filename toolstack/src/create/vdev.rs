//! Names of disks in a guest, and the numbers they stand for: xen-vbd-interface(7).

/// Letters a, b, ..., z, aa, ...: 0, 1, ...
fn letters(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    let all = text.bytes().try_fold(0u32, |n, b| n.checked_mul(26)?.checked_add(u32::from(b - b'a') + 1));
    all.map(|n| n - 1)
}

/// `3` of `xvda3`; 0 where there is none. Numbers do not begin with 0.
fn part(text: &str) -> Option<u32> {
    match text {
        "" => Some(0),
        digits if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) => None,
        digits => digits.parse().ok(),
    }
}

/// The number of a disk or partition.
pub fn number(name: &str) -> Option<u32> {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return crate::config::syntax::number(name)
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n < 1 << 29);
    }
    if let Some(numbers) =
        name.strip_prefix('d').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        let (disk, rest) = numbers.split_once('p').unwrap_or((numbers, ""));
        return xvd(disk.parse().ok()?, part(rest)?);
    }
    let end = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (whole, rest) = name.split_at(end);
    let partition = part(rest)?;
    let disk = |prefix| whole.strip_prefix(prefix).and_then(letters);
    if let Some(disk) = disk("xvd").or(disk("vd")) {
        return xvd(disk, partition);
    }
    match (disk("hd"), disk("sd")) {
        (Some(disk @ 0..=1), _) if partition < 64 => Some(3 << 8 | disk << 6 | partition),
        (Some(disk @ 2..=3), _) if partition < 64 => Some(22 << 8 | (disk - 2) << 6 | partition),
        (_, Some(disk @ 0..=15)) if partition < 16 => Some(8 << 8 | disk << 4 | partition),
        _ => None,
    }
}

/// The old form where it has room.
fn xvd(disk: u32, partition: u32) -> Option<u32> {
    match (disk, partition) {
        (0..=15, 0..=15) => Some(202 << 8 | disk << 4 | partition),
        (0..=0xf_ffff, 0..=255) => Some(1 << 28 | disk << 8 | partition),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_the_manual_s() {
        let cases = [
            ("xvda", Some(51712)),
            ("xvda3", Some(51715)),
            ("xvdp15", Some(51967)),
            ("xvdq", Some(1 << 28 | 16 << 8)),
            ("xvda16", Some(1 << 28 | 16)),
            ("xvdaa", Some(1 << 28 | 26 << 8)),
            ("d0", Some(51712)),
            ("d5p2", Some(51794)),
            ("d536p37", Some(1 << 28 | 536 << 8 | 37)),
            ("sda1", Some(2049)),
            ("sdp", Some(2288)),
            ("hda", Some(768)),
            ("hdb1", Some(833)),
            ("hdc", Some(5632)),
            ("51728", Some(51728)),
            ("0x800", Some(2048)),
            ("sdq", None),
            ("hde", None),
            ("xvd", None),
            ("xvda0", None),
            ("xvda256", None),
            ("xvda01", None),
            ("foo", None),
            ("dp1", None),
        ];
        for (name, expected) in cases {
            assert_eq!(number(name), expected, "{name}");
        }
    }
}
