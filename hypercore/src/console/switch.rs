//! Who hears the keyboard: dom0, or the hypervisor's debug keys. Ctrl-A three times in a row changes over.

/// The character that switches when typed [`PRESSES`] times.
pub const SWITCH_CHAR: u8 = 0x01;
const PRESSES: u8 = 3;

/// What a typed character means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Goes to dom0, `SWITCH_CHAR` this many times before it (they turned out not to be a switch).
    ToDom0 { held: u8, char: u8 },
    /// A debug key.
    Key(u8),
    /// The keyboard has changed over; `true`: to the hypervisor.
    Switched(bool),
    /// May become part of a switch: nothing yet.
    Held,
}

/// The state of the switch.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// The character that switches; 0: none.
    char: u8,
    to_hypervisor: bool,
    presses: u8,
}

impl Switch {
    /// Input goes to dom0, or to the hypervisor while there is no dom0; `char` switches (0: nothing does).
    pub const fn new(to_hypervisor: bool, char: u8) -> Self {
        Switch { char, to_hypervisor, presses: 0 }
    }

    /// Whether the hypervisor has the keyboard.
    pub fn is_hypervisors(&self) -> bool {
        self.to_hypervisor
    }

    /// Gives the keyboard to dom0 (when it starts).
    pub fn give_to_dom0(&mut self) {
        *self = Switch::new(false, self.char);
    }

    /// What `char` means.
    pub fn typed(&mut self, char: u8) -> Input {
        if char == self.char && char != 0 {
            self.presses += 1;
            if self.presses < PRESSES {
                return Input::Held;
            }
            self.presses = 0;
            self.to_hypervisor = !self.to_hypervisor;
            return Input::Switched(self.to_hypervisor);
        }
        let held = core::mem::take(&mut self.presses);
        if self.to_hypervisor { Input::Key(char) } else { Input::ToDom0 { held, char } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_switch() {
        let mut s = Switch::new(false, SWITCH_CHAR);
        assert_eq!(s.typed(1), Input::Held);
        assert_eq!(s.typed(1), Input::Held);
        assert_eq!(s.typed(1), Input::Switched(true));
        assert_eq!(s.typed(b'h'), Input::Key(b'h'));
        for _ in 0..2 {
            s.typed(1);
        }
        assert_eq!(s.typed(1), Input::Switched(false));
        assert!(!s.is_hypervisors());
    }

    #[test]
    fn fewer_are_dom0s_own() {
        let mut s = Switch::new(false, SWITCH_CHAR);
        s.typed(1);
        assert_eq!(s.typed(b'x'), Input::ToDom0 { held: 1, char: b'x' });
        s.typed(1);
        s.typed(1);
        assert_eq!(s.typed(b'y'), Input::ToDom0 { held: 2, char: b'y' });
        let mut none = Switch::new(false, 0);
        assert_eq!(none.typed(0), Input::ToDom0 { held: 0, char: 0 }, "nothing switches");
    }
}
