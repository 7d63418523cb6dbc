//! Nix's base-32 text form of byte strings: owns the alphabet and its two tables, touches nothing else.
//!
//! The byte string is read as a little-endian number and written with the most significant 5-bit digit first. The
//! alphabet has the digits and lower-case letters without e, o, u and t; it ascends in ASCII, so numbers and texts of
//! the same length sort alike.

use thiserror::Error;

/// The 32 digits in ascending order of value.
pub const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

const NOT_A_DIGIT: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut table = [NOT_A_DIGIT; 256];
    let mut value = 0;
    while value < 32 {
        table[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    table
};

/// Why a text is not the nix32 form of any byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// No byte string has a text of this many digits, or the wanted one has another number of digits.
    #[error("nix32 text cannot have {digits} digits")]
    InvalidLength {
        /// Length of the text in bytes.
        digits: usize,
    },
    /// A byte outside the alphabet; upper case is outside too.
    #[error("byte 0x{byte:02x} at position {position} is not a nix32 digit")]
    InvalidDigit {
        /// The offending byte.
        byte: u8,
        /// Its index in the text.
        position: usize,
    },
    /// Bits above the last byte are set, so the text is no canonical form.
    #[error("nix32 text has bits set beyond its last byte")]
    ExcessBits,
}

/// Number of digits that `bytes` bytes take: ceil(8 * bytes / 5).
pub const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Number of bytes in a text of `digits` digits; `None` if no byte string has such a text.
pub const fn decoded_len(digits: usize) -> Option<usize> {
    let bytes = digits / 8 * 5 + digits % 8 * 5 / 8;
    if encoded_len(bytes) == digits { Some(bytes) } else { None }
}

/// The value 0..=31 of one digit; `None` outside the alphabet.
pub const fn digit_value(byte: u8) -> Option<u8> {
    match VALUES[byte as usize] {
        NOT_A_DIGIT => None,
        value => Some(value),
    }
}

/// Whether the byte belongs to the alphabet.
pub const fn is_digit(byte: u8) -> bool {
    VALUES[byte as usize] != NOT_A_DIGIT
}

/// The nix32 text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(encoded_len(bytes.len()));
    for digit in (0..encoded_len(bytes.len())).rev() {
        let (index, shift) = (digit * 5 / 8, digit * 5 % 8);
        let next = bytes.get(index + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([bytes[index], next]);
        text.push(char::from(ALPHABET[usize::from(pair >> shift & 31)]));
    }
    text
}

/// The byte string whose nix32 form is `text`; its length follows from the length of the text.
///
/// # Errors
/// See [`DecodeError`]; each byte string has exactly one accepted text.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, DecodeError> {
    let text = text.as_ref();
    let len = decoded_len(text.len()).ok_or(DecodeError::InvalidLength { digits: text.len() })?;
    let mut bytes = vec![0; len];
    decode_into(text, &mut bytes)?;
    Ok(bytes)
}

/// The byte string of exactly `N` bytes whose nix32 form is `text`.
///
/// # Errors
/// See [`DecodeError`]; a text of another length is [`DecodeError::InvalidLength`].
pub fn decode_fixed<const N: usize>(text: impl AsRef<[u8]>) -> Result<[u8; N], DecodeError> {
    let text = text.as_ref();
    if text.len() != encoded_len(N) {
        return Err(DecodeError::InvalidLength { digits: text.len() });
    }
    let mut bytes = [0; N];
    decode_into(text, &mut bytes)?;
    Ok(bytes)
}

/// The caller has matched the lengths of `text` and `bytes`.
fn decode_into(text: &[u8], bytes: &mut [u8]) -> Result<(), DecodeError> {
    for (digit, (position, &byte)) in text.iter().enumerate().rev().enumerate() {
        let value = digit_value(byte).ok_or(DecodeError::InvalidDigit { byte, position })?;
        let (index, shift) = (digit * 5 / 8, digit * 5 % 8);
        let [low, high] = (u16::from(value) << shift).to_le_bytes();
        bytes[index] |= low;
        match bytes.get_mut(index + 1) {
            Some(next) => *next |= high,
            None if high != 0 => return Err(DecodeError::ExcessBits),
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_vectors() {
        for (bytes, text) in [
            (&b""[..], ""),
            (&[0x00], "00"),
            (&[0x01], "01"),
            (&[0x1f], "0z"),
            (&[0x20], "10"),
            (&[0xff], "7z"),
            (&[0x12, 0x34], "0d0j"),
            (&[0, 1, 2, 3, 4], "0h1h4080"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(decode("z0"), Err(DecodeError::ExcessBits));
        assert_eq!(decode("80"), Err(DecodeError::ExcessBits));
        assert_eq!(decode("0E"), Err(DecodeError::InvalidDigit { byte: b'E', position: 1 }));
        assert_eq!(decode("0A"), Err(DecodeError::InvalidDigit { byte: b'A', position: 1 }));
        for letter in ["0e", "0o", "0u", "0t", "0-"] {
            assert!(matches!(decode(letter), Err(DecodeError::InvalidDigit { position: 1, .. })), "{letter}");
        }
        for digits in [1, 3, 6, 9] {
            assert_eq!(decode("0".repeat(digits)), Err(DecodeError::InvalidLength { digits }));
        }
        assert_eq!(decode_fixed::<2>("00"), Err(DecodeError::InvalidLength { digits: 2 }));
        assert_eq!(decode_fixed::<32>(format!("z{}", "0".repeat(51))), Err(DecodeError::ExcessBits));
    }

    #[test]
    fn lengths() {
        for (bytes, digits) in [(0, 0), (1, 2), (5, 8), (16, 26), (20, 32), (32, 52), (64, 103)] {
            assert_eq!(encoded_len(bytes), digits);
            assert_eq!(decoded_len(digits), Some(bytes));
        }
    }
}
