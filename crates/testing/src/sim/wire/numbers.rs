//! Vectors as JSON.

use base64_simd::STANDARD as BASE64;

use super::super::embedding::Numbers;

/// One vector, as an array or packed into a string.
pub(super) fn write_vector(out: &mut Vec<u8>, vector: &[f32], numbers: Numbers, base64: bool) {
    match numbers {
        Numbers::Float if base64 => write_base64(out, vector),
        Numbers::Float => write_floats(out, vector),
        Numbers::Uint8 | Numbers::Ubinary => {
            let bytes = if numbers == Numbers::Uint8 {
                vector.iter().map(|x| uint8(*x)).collect()
            } else {
                signs(vector)
            };
            if base64 {
                write_string(out, &bytes);
            } else {
                write_integers(out, bytes.iter().map(|byte| i16::from(*byte)));
            }
        }
        Numbers::Int8 | Numbers::Binary => {
            let bytes: Vec<u8> = if numbers == Numbers::Int8 {
                vector.iter().map(|x| uint8(*x)).collect()
            } else {
                signs(vector)
            };
            let signed = bytes.iter().map(|byte| i16::from(*byte) - 128);
            if base64 {
                let packed: Vec<u8> = bytes.iter().map(|byte| byte.wrapping_sub(128)).collect();
                write_string(out, &packed);
            } else {
                write_integers(out, signed);
            }
        }
    }
}

/// Numbers as a JSON array; a NaN, which JSON has no word for, as Python servers write it.
pub(super) fn write_floats(out: &mut Vec<u8>, vector: &[f32]) {
    let mut buffer = zmij::Buffer::new();
    out.push(b'[');
    for (position, component) in vector.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        let digits = if component.is_finite() { buffer.format_finite(*component) } else { "NaN" };
        out.extend_from_slice(digits.as_bytes());
    }
    out.push(b']');
}

/// Little-endian f32 in base64, as a JSON string.
pub(super) fn write_base64(out: &mut Vec<u8>, vector: &[f32]) {
    let packed: Vec<u8> = vector.iter().flat_map(|component| component.to_le_bytes()).collect();
    write_string(out, &packed);
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(BASE64.encode_to_string(bytes).as_bytes());
    out.push(b'"');
}

fn write_integers(out: &mut Vec<u8>, integers: impl Iterator<Item = i16>) {
    out.push(b'[');
    for (position, integer) in integers.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(integer.to_string().as_bytes());
    }
    out.push(b']');
}

/// Components of unit vectors are small: a quarter is full scale.
fn uint8(component: f32) -> u8 {
    (component * 512.0 + 128.0).round().clamp(0.0, 255.0) as u8
}

fn signs(vector: &[f32]) -> Vec<u8> {
    vector
        .chunks(8)
        .map(|chunk| {
            chunk.iter().enumerate().fold(0, |byte, (bit, x)| byte | (u8::from(*x > 0.0) << (7 - bit)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(vector: &[f32], numbers: Numbers, base64: bool) -> String {
        let mut out = Vec::new();
        write_vector(&mut out, vector, numbers, base64);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_take_each_form() {
        let vector = [0.1, -0.1, 0.25, -0.25, 0.0, 0.5, -0.5, f32::EPSILON, 0.1];
        for (numbers, array, packed) in [
            (Numbers::Uint8, "[179,77,255,0,128,255,0,128,179]", "s03/AID/AICz"),
            (Numbers::Int8, "[51,-51,127,-128,0,127,-128,0,51]", "M81/gAB/gAAz"),
            (Numbers::Ubinary, "[165,128]", "pYA="),
            (Numbers::Binary, "[37,0]", "JQA="),
        ] {
            assert_eq!(written(&vector, numbers, false), array, "{numbers:?}");
            assert_eq!(written(&vector, numbers, true), format!("\"{packed}\""), "{numbers:?}");
        }
        assert_eq!(written(&[1.0, f32::NAN, -2.5e-9], Numbers::Float, false), "[1.0,NaN,-2.5e-9]");
        assert_eq!(written(&[1.0], Numbers::Float, true), r#""AACAPw==""#);
    }
}
