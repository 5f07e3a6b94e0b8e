//! How long a vCPU has been in which state.

use abi::vcpu::{RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING, VcpuRunstateInfo};

/// States of `vcpu_runstate_info` (public header vcpu.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum State {
    Running = RUNSTATE_RUNNING,
    Runnable = RUNSTATE_RUNNABLE,
    Blocked = RUNSTATE_BLOCKED,
    /// Down or paused.
    Offline = RUNSTATE_OFFLINE,
}

/// The account of one vCPU.
#[derive(Clone, Copy, Debug)]
pub struct Runstate {
    state: State,
    since_ns: u64,
    time_ns: [u64; 4],
    /// The state to enter when it leaves its CPU without being runnable.
    pub resting: State,
}

impl Runstate {
    pub fn new(state: State, now: u64) -> Self {
        Self { state, since_ns: now, time_ns: [0; 4], resting: state }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn change(&mut self, to: State, now: u64) {
        if to != self.state {
            self.time_ns[self.state as usize] += now.saturating_sub(self.since_ns);
            self.since_ns = self.since_ns.max(now);
            self.state = to;
        }
    }

    /// Nanoseconds in each state up to `now`, the present one included.
    pub fn times(&self, now: u64) -> [u64; 4] {
        let mut t = self.time_ns;
        t[self.state as usize] += now.saturating_sub(self.since_ns);
        t
    }

    /// As `VCPUOP_get_runstate_info` answers: brought up to date.
    pub fn info_now(&self, now: u64) -> VcpuRunstateInfo {
        let mut i = self.info();
        i.time = self.times(now);
        i
    }

    /// As the guest's registered area shows it: `time` up to when the state began.
    pub fn info(&self) -> VcpuRunstateInfo {
        VcpuRunstateInfo {
            state: self.state as i32,
            _pad0: 0,
            state_entry_time: self.since_ns,
            time: self.time_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_to_the_state_it_was_spent_in() {
        let mut r = Runstate::new(State::Offline, 100);
        r.change(State::Runnable, 150);
        r.change(State::Running, 170);
        r.change(State::Running, 180);
        r.change(State::Blocked, 200);
        assert_eq!(r.times(260), [30, 20, 60, 50]);
        let i = r.info();
        assert_eq!((i.state, i.state_entry_time, i.time), (RUNSTATE_BLOCKED, 200, [30, 20, 0, 50]));
        assert_eq!(r.info_now(260).time.iter().sum::<u64>() + 100, 260);
    }
}
