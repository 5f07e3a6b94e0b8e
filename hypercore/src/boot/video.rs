//! The display as the loader left it, and how dom0 is told of it (`dom0_vga_console_info` of public header xen.h).

use abi::xen::{Dom0VgaConsoleInfo, VgaTextMode3, VgaVesaLfb, XEN_VGATYPE_TEXT_MODE_3, XEN_VGATYPE_VESA_LFB};
use zerocopy::IntoBytes;

use super::{le16, le32, le64};

/// One colour's bits in a pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    pub pos: u8,
    pub size: u8,
}

/// A linear frame buffer with red, green and blue pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framebuffer {
    /// Physical address.
    pub base: u64,
    pub width: u32,
    pub height: u32,
    pub bytes_per_line: u32,
    pub bits_per_pixel: u8,
    pub red: Field,
    pub green: Field,
    pub blue: Field,
}

/// Multiboot's type of a frame buffer of direct colours.
const TYPE_RGB: u8 = 1;

impl Framebuffer {
    /// From the fields that multiboot 1 (at 88 of its structure) and multiboot 2 (at 8 of tag 8) begin alike: address,
    /// pitch, width, height, depth, type; the colours are at `colours`. `None` unless it is of direct colours.
    pub(super) fn read(fields: &[u8], colours: &[u8]) -> Option<Self> {
        if fields.len() < 22 || colours.len() < 6 || fields[21] != TYPE_RGB {
            return None;
        }
        let field = |at: usize| Field { pos: colours[at], size: colours[at + 1] };
        Self {
            base: le64(fields, 0),
            bytes_per_line: le32(fields, 8),
            width: le32(fields, 12),
            height: le32(fields, 16),
            bits_per_pixel: fields[20],
            red: field(0),
            green: field(2),
            blue: field(4),
        }
        .checked()
    }

    /// From a VBE mode information block (VBE 2.0, function 4F01h). `None` unless it is a linear mode of direct
    /// colours.
    pub(super) fn from_vbe(mode: &[u8]) -> Option<Self> {
        const LINEAR: u16 = 1 << 7;
        const DIRECT_COLOUR: u8 = 6;
        if mode.len() < 44 || le16(mode, 0) & LINEAR == 0 || mode[27] != DIRECT_COLOUR {
            return None;
        }
        let field = |at: usize| Field { pos: mode[at + 1], size: mode[at] };
        Self {
            base: le32(mode, 40).into(),
            bytes_per_line: le16(mode, 16).into(),
            width: le16(mode, 18).into(),
            height: le16(mode, 20).into(),
            bits_per_pixel: mode[25],
            red: field(31),
            green: field(33),
            blue: field(35),
        }
        .checked()
    }

    /// What fits the fields that dom0 is told in, and can be a picture.
    fn checked(self) -> Option<Self> {
        let fits = |n: u32| (1..=0xffff).contains(&n);
        let line = u64::from(self.width) * u64::from(self.bits_per_pixel.div_ceil(8));
        (self.base != 0
            && fits(self.width)
            && fits(self.height)
            && fits(self.bytes_per_line)
            && self.bits_per_pixel >= 15
            && u64::from(self.bytes_per_line) >= line)
            .then_some(self)
    }

    /// Bytes of the picture.
    pub fn len(&self) -> u64 {
        u64::from(self.bytes_per_line) * u64::from(self.height)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A screen of characters at 0xb8000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextScreen {
    /// Pixels.
    pub font_height: u16,
    pub rows: u16,
    pub columns: u16,
    /// Where dom0 goes on.
    pub cursor_row: u16,
}

/// What dom0 is told of the display: the frame buffer where there is one, else the text screen.
pub fn console_info(picture: Option<&Framebuffer>, text: Option<TextScreen>) -> Option<Dom0VgaConsoleInfo> {
    let mut info = Dom0VgaConsoleInfo::default();
    if let Some(f) = picture {
        info.video_type = XEN_VGATYPE_VESA_LFB;
        let lfb = VgaVesaLfb {
            width: f.width as u16,
            height: f.height as u16,
            bytes_per_line: f.bytes_per_line as u16,
            bits_per_pixel: f.bits_per_pixel.into(),
            lfb_base: f.base as u32,
            lfb_size: f.len().div_ceil(1 << 16) as u32,
            red_pos: f.red.pos,
            red_size: f.red.size,
            green_pos: f.green.pos,
            green_size: f.green.size,
            blue_pos: f.blue.pos,
            blue_size: f.blue.size,
            ext_lfb_base: (f.base >> 32) as u32,
            ..VgaVesaLfb::default()
        };
        info.u.as_mut_bytes()[..size_of::<VgaVesaLfb>()].copy_from_slice(lfb.as_bytes());
        return Some(info);
    }
    let text = text?;
    info.video_type = XEN_VGATYPE_TEXT_MODE_3;
    let mode = VgaTextMode3 {
        font_height: text.font_height,
        cursor_x: 0,
        cursor_y: text.cursor_row.min(text.rows.saturating_sub(1)),
        rows: text.rows,
        columns: text.columns,
    };
    info.u.as_mut_bytes()[..size_of::<VgaTextMode3>()].copy_from_slice(mode.as_bytes());
    Some(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn multiboot(kind: u8) -> Vec<u8> {
        let mut b = 0xfd00_0000u64.to_le_bytes().to_vec();
        for n in [4096u32, 1024, 768] {
            b.extend_from_slice(&n.to_le_bytes());
        }
        b.extend_from_slice(&[32, kind]);
        b
    }

    #[test]
    fn a_loaders_frame_buffer_is_dom0s() {
        let f = Framebuffer::read(&multiboot(1), &[16, 8, 8, 8, 0, 8]).unwrap();
        assert_eq!((f.width, f.height, f.red, f.len()), (1024, 768, Field { pos: 16, size: 8 }, 4096 * 768));
        let info = console_info(Some(&f), None).unwrap();
        assert_eq!(info.video_type, 0x23);
        let b = info.u.as_bytes();
        assert_eq!(b[..8], [0, 4, 0, 3, 0, 16, 32, 0]);
        assert_eq!((le32(b, 8), le32(b, 12), b[16], b[17]), (0xfd00_0000, 48, 16, 8));
        assert_eq!(Framebuffer::read(&multiboot(2), &[0; 6]), None, "a text screen is no frame buffer");
        assert_eq!(Framebuffer::read(&multiboot(0), &[0; 6]), None, "a palette cannot be handed over");
        let mut narrow = multiboot(1);
        narrow[8..12].copy_from_slice(&1024u32.to_le_bytes());
        assert_eq!(Framebuffer::read(&narrow, &[0; 6]), None, "a line longer than its pitch");
    }

    #[test]
    fn a_vbe_mode_serves_as_well() {
        let mut m = [0u8; 256];
        m[0] = 0x9b;
        m[16..18].copy_from_slice(&3200u16.to_le_bytes());
        m[18..20].copy_from_slice(&800u16.to_le_bytes());
        m[20..22].copy_from_slice(&600u16.to_le_bytes());
        (m[25], m[27]) = (32, 6);
        m[31..37].copy_from_slice(&[8, 16, 8, 8, 8, 0]);
        m[40..44].copy_from_slice(&0xe000_0000u32.to_le_bytes());
        let f = Framebuffer::from_vbe(&m).unwrap();
        assert_eq!((f.base, f.width, f.green), (0xe000_0000, 800, Field { pos: 8, size: 8 }));
        m[0] = 0x1b;
        assert_eq!(Framebuffer::from_vbe(&m), None, "no linear frame buffer");
    }

    #[test]
    fn a_text_screen_is_told_with_its_cursor() {
        let text = TextScreen { font_height: 16, rows: 25, columns: 80, cursor_row: 99 };
        let info = console_info(None, Some(text)).unwrap();
        assert_eq!(info.video_type, 3);
        assert_eq!(info.u.as_bytes()[..10], [16, 0, 0, 0, 24, 0, 25, 0, 80, 0]);
        assert_eq!(console_info(None, None), None);
    }
}
