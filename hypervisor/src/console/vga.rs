//! The text screen of a PC: 80 by 25 characters at 0xb8000, until dom0 takes the screen over.

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
