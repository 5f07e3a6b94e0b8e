//! CRC-32 (IEEE 802.3) and CRC-64 (ECMA-182) in their reflected forms, eight bytes at a time, and XXH64.

const fn tables32() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg());
            k += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut s = 1;
    while s < 8 {
        let mut i = 0;
        while i < 256 {
            t[s][i] = (t[s - 1][i] >> 8) ^ t[0][(t[s - 1][i] & 0xff) as usize];
            i += 1;
        }
        s += 1;
    }
    t
}

const fn table64() -> [u64; 256] {
    let mut t = [0u64; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u64;
        let mut k = 0;
        while k < 8 {
            c = (c >> 1) ^ (0xc96c_5795_d787_0f42 & (c & 1).wrapping_neg());
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}

static TABLES32: [[u32; 256]; 8] = tables32();
static TABLE64: [u64; 256] = table64();

/// CRC-32 as gzip and xz use it.
pub(super) fn crc32(data: &[u8]) -> u32 {
    let t = &TABLES32;
    let mut c = !0u32;
    let (words, rest) = data.as_chunks::<8>();
    for w in words {
        let v = u64::from_le_bytes(*w) ^ u64::from(c);
        c = 0;
        for (i, byte) in v.to_le_bytes().iter().enumerate() {
            c ^= t[7 - i][usize::from(*byte)];
        }
    }
    for byte in rest {
        c = (c >> 8) ^ t[0][usize::from(c as u8 ^ byte)];
    }
    !c
}

const fn table_msb() -> [u32; 256] {
    let mut t = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = (i as u32) << 24;
        let mut k = 0;
        while k < 8 {
            c = (c << 1) ^ (0x04c1_1db7 & (c >> 31).wrapping_neg());
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}

static TABLE_MSB: [u32; 256] = table_msb();

/// CRC-32 as bzip2 uses it: the most significant bit first.
pub(super) fn crc32_msb(data: &[u8]) -> u32 {
    let mut c = !0u32;
    for byte in data {
        c = (c << 8) ^ TABLE_MSB[usize::from((c >> 24) as u8 ^ byte)];
    }
    !c
}

/// CRC-64 as xz uses it.
pub(super) fn crc64(data: &[u8]) -> u64 {
    let mut c = !0u64;
    for byte in data {
        c = (c >> 8) ^ TABLE64[usize::from(c as u8 ^ byte)];
    }
    !c
}

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

fn round(acc: u64, lane: u64) -> u64 {
    acc.wrapping_add(lane.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

/// XXH64 with seed 0, whose low half ends a zstd frame.
pub(super) fn xxh64(data: &[u8]) -> u64 {
    let (stripes, tail) = data.as_chunks::<32>();
    let mut h = if stripes.is_empty() {
        P5
    } else {
        let mut acc = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
        for stripe in stripes {
            for (a, lane) in acc.iter_mut().zip(stripe.as_chunks::<8>().0) {
                *a = round(*a, u64::from_le_bytes(*lane));
            }
        }
        let mut h = acc[0]
            .rotate_left(1)
            .wrapping_add(acc[1].rotate_left(7))
            .wrapping_add(acc[2].rotate_left(12))
            .wrapping_add(acc[3].rotate_left(18));
        for a in acc {
            h = (h ^ round(0, a)).wrapping_mul(P1).wrapping_add(P4);
        }
        h
    };
    h = h.wrapping_add(data.len() as u64);
    let (words, tail) = tail.as_chunks::<8>();
    for w in words {
        h = (h ^ round(0, u64::from_le_bytes(*w))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    }
    let (halves, tail) = tail.as_chunks::<4>();
    for w in halves {
        h ^= u64::from(u32::from_le_bytes(*w)).wrapping_mul(P1);
        h = h.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
    }
    for byte in tail {
        h = (h ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    h = (h ^ (h >> 33)).wrapping_mul(P2);
    h = (h ^ (h >> 29)).wrapping_mul(P3);
    h ^ (h >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32_msb(b"123456789"), 0xfc89_1918);
        assert_eq!(crc64(b"123456789"), 0x995d_c9bb_df19_39fa);
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
    }

    #[test]
    fn eight_at_a_time_is_the_same_as_one_at_a_time() {
        let data: std::vec::Vec<u8> = (0..1000u32).map(|i| (i * 7 + i / 3) as u8).collect();
        for len in [0, 1, 7, 8, 9, 63, 1000] {
            let mut c = !0u32;
            for b in &data[..len] {
                c = (c >> 8) ^ TABLES32[0][usize::from(c as u8 ^ b)];
            }
            assert_eq!(crc32(&data[..len]), !c);
        }
    }
}
