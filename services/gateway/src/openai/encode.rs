//! Writes an answer into one buffer. Vectors come as little-endian f32 bytes and go out as base64 or shortest decimal digits,
//! without a stop in between.

/// How the client wants its vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    /// JSON numbers.
    #[default]
    Float,
    /// Base64 of little-endian f32.
    Base64,
}

/// The JSON of an embeddings answer. Every vector must be finite and a multiple of four bytes; where numbers are asked for, `floats`
/// appends them.
pub(super) fn answer<V: AsRef<[u8]>>(
    model: &str,
    vectors: impl ExactSizeIterator<Item = V> + Clone,
    encoding: Encoding,
    tokens: u64,
    floats: impl Fn(&mut Vec<u8>, V),
) -> Vec<u8> {
    let bytes: usize = vectors.clone().map(|vector| vector.as_ref().len()).sum();
    // 3 bytes are 4 characters; a float of a unit vector has 12 characters with its comma, and seldom more than 14
    let digits = match encoding {
        Encoding::Base64 => bytes / 3 * 4,
        Encoding::Float => bytes / 4 * 14,
    };
    let mut out = Vec::with_capacity(digits + vectors.len() * 64 + model.len() + 160);
    out.extend_from_slice(br#"{"object":"list","data":["#);
    for (index, vector) in vectors.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"object":"embedding","index":"#);
        number(&mut out, index as u64);
        out.extend_from_slice(br#","embedding":"#);
        match encoding {
            Encoding::Base64 => base64(&mut out, vector.as_ref()),
            Encoding::Float => floats(&mut out, vector),
        }
        out.push(b'}');
    }
    out.extend_from_slice(br#"],"model":"#);
    string(&mut out, model);
    out.extend_from_slice(br#","usage":{"prompt_tokens":"#);
    number(&mut out, tokens);
    out.extend_from_slice(br#","total_tokens":"#);
    number(&mut out, tokens);
    out.extend_from_slice(b"}}");
    out
}

fn base64(out: &mut Vec<u8>, vector: &[u8]) {
    out.push(b'"');
    base64_simd::STANDARD.encode_append(vector, out);
    out.push(b'"');
}

/// A vector as JSON numbers of shortest digits.
pub(super) fn floats(out: &mut Vec<u8>, vector: &[u8]) {
    out.push(b'[');
    let mut digits = zmij::Buffer::new();
    for (index, float) in vector.as_chunks::<4>().0.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(digits.format_finite(f32::from_le_bytes(*float)).as_bytes());
    }
    out.push(b']');
}

fn number(out: &mut Vec<u8>, number: u64) {
    // writing to a vector cannot fail
    let _ = serde_json::to_writer(out, &number);
}

fn string(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}
