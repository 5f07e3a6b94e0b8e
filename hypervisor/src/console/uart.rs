//! The 16550 serial port: polled output, input by interrupt or polled.

use hypercore::boot::cmdline::Com;

use crate::cpu::instr::{inb, outb};

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const INTERRUPT_ID: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const DATA_READY: u8 = 1;
const EMPTY: u8 = 1 << 5;
const LATCH_ACCESS: u8 = 1 << 7;
/// Bytes the transmitter takes when empty.
const FIFO: usize = 16;

/// One port. Its registers are the hypervisor's alone: dom0's accesses are refused.
#[derive(Clone, Copy, Debug)]
pub struct Uart {
    base: u16,
    /// 0: it is polled.
    pub irq: u8,
    /// In which the receiver's FIFO fills.
    fifo_ns: u64,
}

impl Uart {
    /// Sets the port up; `None` if there is none.
    pub fn new(com: &Com) -> Option<Uart> {
        let uart = Uart { base: com.port, irq: com.irq, fifo_ns: com.fifo_ns() };
        uart.write(SCRATCH, 0x5a);
        if uart.read(SCRATCH) != 0x5a {
            return None;
        }
        let parity = match com.parity {
            b'o' => 1,
            b'e' => 3,
            b'm' => 5,
            b's' => 7,
            _ => 0,
        };
        let line = (com.data_bits - 5) | (com.stop_bits - 1) << 2 | parity << 3;
        uart.write(INTERRUPT_ENABLE, 0);
        if let Some(baud) = com.baud {
            let divisor = (115_200 / baud).max(1) as u16;
            uart.write(LINE_CONTROL, line | LATCH_ACCESS);
            uart.write(DATA, divisor as u8);
            uart.write(INTERRUPT_ENABLE, (divisor >> 8) as u8);
        }
        uart.write(LINE_CONTROL, line);
        uart.write(FIFO_CONTROL, 0x07);
        // DTR, RTS, and OUT2, which lets the interrupt out on PCs.
        uart.write(MODEM_CONTROL, 0x0b);
        Some(uart)
    }

    /// How long its receiver holds what comes, at the line's rate.
    pub fn fifo_ns(&self) -> u64 {
        self.fifo_ns
    }

    /// The I/O ports it occupies.
    pub fn ports(&self) -> core::ops::Range<u16> {
        self.base..self.base + 8
    }

    fn read(&self, register: u16) -> u8 {
        // SAFETY: the serial port is the hypervisor's, under the console's lock.
        unsafe { inb(self.base + register) }
    }

    fn write(&self, register: u16, value: u8) {
        // SAFETY: as above.
        unsafe { outb(self.base + register, value) }
    }

    /// Sends `bytes`, with a carriage return before each line feed; waits while the transmitter is full, but not
    /// for ever.
    pub fn send(&self, bytes: &[u8]) {
        let mut room = 0;
        let mut put = |b: u8| {
            if room == 0 {
                // A port that stopped answering loses output rather than the machine.
                for _ in 0..1_000_000 {
                    if self.read(LINE_STATUS) & EMPTY != 0 {
                        break;
                    }
                    core::hint::spin_loop();
                }
                room = FIFO;
            }
            self.write(DATA, b);
            room -= 1;
        };
        for &b in bytes {
            if b == b'\n' {
                put(b'\r');
            }
            put(b);
        }
    }

    /// A received byte, if there is one.
    pub fn receive(&self) -> Option<u8> {
        (self.read(LINE_STATUS) & DATA_READY != 0).then(|| self.read(DATA))
    }

    /// Lets received bytes raise the interrupt.
    pub fn enable_interrupt(&self) {
        self.write(INTERRUPT_ENABLE, 1);
        self.acknowledge();
    }

    /// Reads the cause of the interrupt, which clears some.
    pub fn acknowledge(&self) {
        self.read(INTERRUPT_ID);
    }
}
