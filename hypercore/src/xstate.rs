//! Extended processor state (Intel SDM vol. 1, chapter 13): which components may be on together, and the image that
//! XSAVE writes in its standard format.

use crate::vcpu::FpuArea;

/// Components, as bits of XCR0.
pub const X87: u64 = 1 << 0;
pub const SSE: u64 = 1 << 1;
pub const AVX: u64 = 1 << 2;
/// Opmasks, upper halves of ZMM0–15, ZMM16–31.
pub const AVX512: u64 = 7 << 5;
/// What is switched between vCPUs, where the processor has it.
pub const SWITCHED: u64 = X87 | SSE | AVX | AVX512;

/// Offset of MXCSR in an image.
pub const MXCSR: usize = 24;
/// Bits MXCSR has (SDM vol. 1, 10.2.3); a reserved one would fault when loaded.
pub const MXCSR_MASK: u32 = 0xffff;
/// Offset of XSTATE_BV: the components whose state is not the initial one.
pub const XSTATE_BV: usize = 512;
/// Where the header ends, and the components that are not x87's or SSE's begin.
pub const HEADER_END: usize = 576;

/// Whether XSETBV takes `xcr0` where the components `may` can be on.
pub fn xcr0_valid(xcr0: u64, may: u64) -> bool {
    xcr0 & X87 != 0
        && xcr0 & !may == 0
        && (xcr0 & AVX == 0 || xcr0 & SSE != 0)
        && (xcr0 & AVX512 == 0 || xcr0 & (AVX512 | AVX) == AVX512 | AVX)
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadImage {
    /// No whole header, or one that XRSTOR refuses.
    Header,
    /// It ends before a component that it says to have.
    Short,
    /// Reserved bits.
    Mxcsr(u32),
}

/// Whether XRSTOR takes `image`, whose state is in `ever`. `end` answers where a set of components ends.
pub fn check(image: &[u8], ever: u64, end: impl Fn(u64) -> u32) -> Result<(), BadImage> {
    let header = image.get(XSTATE_BV..HEADER_END).ok_or(BadImage::Header)?;
    let used = components(image);
    // The rest of the header is for the compacted format and reserved.
    if used & !ever != 0 || header[8..].iter().any(|&b| b != 0) {
        return Err(BadImage::Header);
    }
    if image.len() < end(used) as usize {
        return Err(BadImage::Short);
    }
    match mxcsr(image) {
        m if m & !MXCSR_MASK != 0 => Err(BadImage::Mxcsr(m)),
        _ => Ok(()),
    }
}

/// XSTATE_BV of a whole image.
pub fn components(image: &[u8]) -> u64 {
    word(image, XSTATE_BV)
}

pub fn mxcsr(image: &[u8]) -> u32 {
    word(image, MXCSR) as u32
}

/// Eight bytes of a buffer that has them.
pub fn word(bytes: &[u8], at: usize) -> u64 {
    let mut w = [0; 8];
    w.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(w)
}

impl FpuArea {
    /// x87 and SSE as an FXSAVE image has them, with MXCSR's reserved bits off; all else stays.
    pub fn set_legacy(&mut self, fxsave: &[u8; 512]) {
        self.0[..512].copy_from_slice(fxsave);
        let valid = mxcsr(fxsave) & MXCSR_MASK;
        self.0[MXCSR..MXCSR + 4].copy_from_slice(&valid.to_le_bytes());
        let components = components(&self.0) | X87 | SSE;
        self.0[XSTATE_BV..XSTATE_BV + 8].copy_from_slice(&components.to_le_bytes());
    }

    /// Takes over a checked image.
    pub fn set(&mut self, image: &[u8]) {
        self.0[..image.len()].copy_from_slice(image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_go_together() {
        let all = SWITCHED;
        for (xcr0, may, valid) in [
            (0, all, false),
            (X87, all, true),
            (SSE, all, false),
            (X87 | SSE, all, true),
            (X87 | AVX, all, false),
            (X87 | SSE | AVX, all, true),
            (X87 | SSE | AVX, X87 | SSE, false),
            (X87 | SSE | AVX512, all, false),
            (X87 | SSE | AVX | 1 << 5, all, false),
            (X87 | SSE | AVX | 3 << 6, all, false),
            (all, all, true),
            (X87 | SSE | 1 << 9, all, false),
            (X87 | SSE | 1 << 63, !0, true),
            (X87, 0, false),
        ] {
            assert_eq!(xcr0_valid(xcr0, may), valid, "{xcr0:#x} of {may:#x}");
        }
    }

    #[test]
    fn images_the_processor_would_refuse() {
        let end = |states: u64| if states & AVX != 0 { 832 } else { 576 };
        let mut image = [0u8; 832];
        image[XSTATE_BV] = 7;
        assert_eq!(check(&image, 7, end), Ok(()));
        assert_eq!(check(&image, 3, end), Err(BadImage::Header), "a component that was never on");
        assert_eq!(check(&image[..831], 7, end), Err(BadImage::Short));
        assert_eq!(check(&image[..575], 7, end), Err(BadImage::Header));
        for at in [XSTATE_BV + 8, XSTATE_BV + 15, HEADER_END - 1] {
            let mut compacted = image;
            compacted[at] = 0x80;
            assert_eq!(check(&compacted, 7, end), Err(BadImage::Header), "byte {at}");
        }
        image[MXCSR + 2] = 1;
        assert_eq!(check(&image, 7, end), Err(BadImage::Mxcsr(0x1_0000)));
        image[XSTATE_BV] = 3;
        image[MXCSR + 2] = 0;
        assert_eq!(check(&image[..576], 7, end), Ok(()), "what is not in use need not be there");
    }

    #[test]
    fn a_legacy_image_leaves_the_rest() {
        let mut area = FpuArea([0x44; 2752]);
        let mut fx = [0x11; 512];
        fx[MXCSR..MXCSR + 4].copy_from_slice(&[0x80, 0x1f, 0xff, 0xff]);
        area.set_legacy(&fx);
        assert_eq!((mxcsr(&area.0), components(&area.0)), (0x1f80, 0x4444_4444_4444_4447));
        assert_eq!((area.0[40], area.0[HEADER_END]), (0x11, 0x44));
    }
}
