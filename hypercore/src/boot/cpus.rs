//! Which of the firmware's processors start, and the numbers they get: dense, in the order of the firmware's list. A
//! processor that does not start leaves its number to the next.

use super::acpi::Cpu;

/// Why a processor is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused<E> {
    /// There are as many CPUs as are wanted.
    Limit,
    /// Its identifier does not fit the APICs' mode.
    NeedsX2apic,
    /// It was to be the CPU of this number, and did not start.
    Failed(u32, E),
}

/// Starts all of `cpus` but the running one, whose APIC is `own` and which is CPU 0, up to `limit` CPUs in all. `start`
/// is given the number and starts one; what it refuses must stay stopped for good. `unused` hears of those left out.
/// How many CPUs there are in the end.
pub fn start_all<E>(
    cpus: &[Cpu],
    own: u32,
    limit: u32,
    x2apic: bool,
    mut start: impl FnMut(u32, &Cpu) -> Result<(), E>,
    mut unused: impl FnMut(&Cpu, Unused<E>),
) -> u32 {
    let mut count = 1;
    for cpu in cpus.iter().filter(|c| c.apic_id != own) {
        if count >= limit {
            unused(cpu, Unused::Limit);
        } else if cpu.apic_id > 0xfe && !x2apic {
            unused(cpu, Unused::NeedsX2apic);
        } else {
            match start(count, cpu) {
                Ok(()) => count += 1,
                Err(e) => unused(cpu, Unused::Failed(count, e)),
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Starts `ids` from CPU 2, where those of `broken` fail: APIC ids by CPU number, and what was not used.
    fn run(ids: &[u32], broken: &[u32], limit: u32, x2apic: bool) -> (Vec<u32>, Vec<(u32, Unused<()>)>) {
        let cpus: Vec<Cpu> = ids.iter().map(|&apic_id| Cpu { apic_id, acpi_id: apic_id }).collect();
        let (mut online, mut left) = (std::vec![2], Vec::new());
        let count = start_all(
            &cpus,
            2,
            limit,
            x2apic,
            |id, cpu| {
                assert_eq!(id as usize, online.len(), "the next number, and no other");
                if broken.contains(&cpu.apic_id) {
                    return Err(());
                }
                online.push(cpu.apic_id);
                Ok(())
            },
            |cpu, why| left.push((cpu.apic_id, why)),
        );
        assert_eq!(count as usize, online.len());
        (online, left)
    }

    #[test]
    fn a_processor_that_does_not_start_leaves_no_gap() {
        let (online, left) = run(&[0, 2, 4, 6, 8], &[0, 6], 64, false);
        assert_eq!(online, [2, 4, 8]);
        assert_eq!(left, [(0, Unused::Failed(1, ())), (6, Unused::Failed(2, ()))]);
        assert_eq!(run(&[2, 4], &[4], 64, false).0, [2], "nor at the end");
    }

    #[test]
    fn those_beyond_the_limit_or_the_mode_stay_off() {
        let (online, left) = run(&[2, 4, 300, 6, 8], &[], 3, false);
        assert_eq!(online, [2, 4, 6]);
        assert_eq!(left, [(300, Unused::NeedsX2apic), (8, Unused::Limit)]);
        assert_eq!(run(&[2, 300], &[], 3, true).0, [2, 300]);
        assert_eq!(run(&[0, 2], &[], 1, false).0, [2]);
    }
}
