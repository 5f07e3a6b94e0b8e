//! The text screen of a PC: 80 by 25 characters at 0xb8000, until dom0 takes the screen over.

use hypercore::boot::video::TextScreen;

use crate::cpu::instr::{inb, outb};
use crate::mm::phys_to_virt;

const WIDTH: usize = 80;
const HEIGHT: usize = 25;
const ATTRIBUTE: u16 = 0x0700;

/// The screen and where the next character goes.
#[derive(Clone, Copy, Debug)]
pub struct Vga {
    cells: u64,
    column: usize,
}

impl Vga {
    /// Clears the screen. The first megabyte is in the direct map, video memory included.
    pub fn new() -> Vga {
        let mut vga = Vga { cells: phys_to_virt(0xb_8000), column: 0 };
        for _ in 0..HEIGHT {
            vga.scroll();
        }
        vga
    }

    fn cell(&self, row: usize, column: usize) -> *mut u16 {
        (self.cells as *mut u16).wrapping_add(row * WIDTH + column)
    }

    fn scroll(&mut self) {
        self.column = 0;
        for row in 0..HEIGHT {
            for column in 0..WIDTH {
                // SAFETY: cells of the text buffer, under the console's lock.
                unsafe {
                    let value = if row + 1 < HEIGHT {
                        self.cell(row + 1, column).read_volatile()
                    } else {
                        ATTRIBUTE | u16::from(b' ')
                    };
                    self.cell(row, column).write_volatile(value);
                }
            }
        }
    }

    /// Writes on the last line, scrolling.
    pub fn send(&mut self, bytes: &[u8]) {
        for &b in bytes {
            if b == b'\n' || self.column == WIDTH {
                self.scroll();
            }
            if b >= b' ' {
                // SAFETY: as above; the column is below the width.
                unsafe { self.cell(HEIGHT - 1, self.column).write_volatile(ATTRIBUTE | u16::from(b)) };
                self.column += 1;
            }
        }
    }
}

/// The screen, if there is a display and it shows characters at 0xb8000. `ours`: we have written to its last line.
pub fn text_screen(ours: bool) -> Option<TextScreen> {
    // SAFETY: the index and data ports of the display's graphics and CRT controllers (IBM VGA); nothing else drives
    // them yet, and reading is harmless. Where there is none, ones come back.
    let (graphics, cursor) = unsafe {
        outb(0x3ce, 6);
        let graphics = inb(0x3cf);
        outb(0x3d4, 0xe);
        let high = inb(0x3d5);
        outb(0x3d4, 0xf);
        (graphics, u16::from_be_bytes([high, inb(0x3d5)]))
    };
    // Bit 0: graphics. Bits 2 and 3: which addresses; 3 is 0xb8000.
    if graphics & 0xd != 0xc {
        return None;
    }
    // SAFETY: the BIOS's data area in the first megabyte, which is in the direct map and not allocated.
    let bios = |at: u64| unsafe { (phys_to_virt(at) as *const u8).read_volatile() };
    let columns = match u16::from_le_bytes([bios(0x44a), bios(0x44b)]) {
        columns @ (40 | 80 | 132) => columns,
        _ => WIDTH as u16,
    };
    let rows = match bios(0x484) {
        last @ 24..=59 => u16::from(last) + 1,
        _ => HEIGHT as u16,
    };
    let font_height = match bios(0x485) {
        height @ 8..=32 => height.into(),
        _ => 16,
    };
    let cursor_row = if ours { rows - 1 } else { cursor / columns };
    Some(TextScreen { font_height, rows, columns, cursor_row })
}
