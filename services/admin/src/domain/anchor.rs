//! Anchors: signed statements of what a chain held at a place and a time. A chain alone can be cut off at its end, or written anew
//! from any place on, by whoever may write to the database; not without contradicting an anchor.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use base64_simd::STANDARD as BASE64;
use embermesh_types::TenantId;
use serde::{Deserialize, Serialize};

use super::audit_record::{Hash, hex, micros, time_of, unhex};

/// Ed25519.
pub(crate) type PublicKey = [u8; 32];

/// In front of what is signed, so that a signature of an anchor can never be one of something else.
const DOMAIN: &[u8] = b"embermesh audit anchor 1\0";

const PEM: [&str; 2] = ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"];

/// What a chain held at `number`, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) tenant: TenantId,
    pub(crate) number: i64,
    /// Of the record with that number.
    pub(crate) hash: Hash,
    /// Microseconds since 1970.
    pub(crate) at_micros: i64,
    pub(crate) public_key: PublicKey,
    pub(crate) signature: [u8; 64],
}

impl Anchor {
    /// Whether whoever holds the private half of `public_key` has said so.
    pub(crate) fn is_genuine(&self) -> bool {
        let said = statement(self.tenant, self.number, &self.hash, self.at_micros);
        UnparsedPublicKey::new(&ED25519, self.public_key).verify(&said, &self.signature).is_ok()
    }

    /// Whether both say the same of the same place, at whatever time.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        (self.tenant, self.number, self.hash, self.public_key)
            == (other.tenant, other.number, other.hash, other.public_key)
    }

    /// One line of JSON, without its end.
    pub(crate) fn to_line(&self) -> String {
        let line = Line {
            tenant_id: self.tenant.to_string(),
            number: self.number,
            hash: hex(&self.hash),
            anchored_at: prost_types::Timestamp::from(time_of(self.at_micros)).to_string(),
            public_key: hex(&self.public_key),
            signature: hex(&self.signature),
        };
        // strings and a number are always written
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads [`Anchor::to_line`]. Says nothing about who signed it.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).ok()?;
        let at: prost_types::Timestamp = line.anchored_at.parse().ok()?;
        Some(Self {
            tenant: line.tenant_id.parse().ok()?,
            number: line.number,
            hash: unhex(&line.hash)?,
            at_micros: micros(at.try_into().ok()?),
            public_key: unhex(&line.public_key)?,
            signature: unhex(&line.signature)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tenant_id: String,
    number: i64,
    hash: String,
    anchored_at: String,
    public_key: String,
    signature: String,
}

fn statement(tenant: TenantId, number: i64, hash: &Hash, at_micros: i64) -> Vec<u8> {
    [DOMAIN, tenant.uuid().as_bytes(), &number.to_be_bytes(), hash, &at_micros.to_be_bytes()].concat()
}

/// Signs anchors.
#[derive(Debug)]
pub(crate) struct Seal {
    pair: Ed25519KeyPair,
    public_key: PublicKey,
}

/// Why there is no seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("holds no Ed25519 private key in PEM; `openssl genpkey -algorithm ed25519` makes one")]
    NoKey,
    #[error("the cryptographic library failed")]
    Library,
}

impl Seal {
    /// A new key, and its PEM.
    pub(crate) fn generate() -> Result<(Self, String), SealError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SealError::Library)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SealError::Library)?;
        let [begin, end] = PEM;
        let pem = format!("{begin}\n{}\n{end}\n", BASE64.encode_to_string(der.as_ref()));
        Ok((Self::of(pair)?, pem))
    }

    /// Reads a private key as PKCS#8 in PEM.
    pub(crate) fn of_pem(pem: &str) -> Result<Self, SealError> {
        let [begin, end] = PEM;
        let body =
            pem.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).ok_or(SealError::NoKey)?;
        let body: String = body.0.split_whitespace().collect();
        let der = BASE64.decode_to_vec(body.as_bytes()).map_err(|_| SealError::NoKey)?;
        Self::of(Ed25519KeyPair::from_pkcs8(&der).map_err(|_| SealError::NoKey)?)
    }

    fn of(pair: Ed25519KeyPair) -> Result<Self, SealError> {
        let public_key = pair.public_key().as_ref().try_into().map_err(|_| SealError::Library)?;
        Ok(Self { pair, public_key })
    }

    /// The public half.
    pub(crate) const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Says that the chain of `tenant` holds `hash` at `number`.
    pub(crate) fn sign(
        &self,
        tenant: TenantId,
        number: i64,
        hash: Hash,
        at_micros: i64,
    ) -> Result<Anchor, SealError> {
        let said = statement(tenant, number, &hash, at_micros);
        let signature = self.pair.try_sign(&said).map_err(|_| SealError::Library)?;
        let signature = signature.as_ref().try_into().map_err(|_| SealError::Library)?;
        Ok(Anchor { tenant, number, hash, at_micros, public_key: self.public_key, signature })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by `openssl genpkey -algorithm ed25519`.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIKzWFlJymTnRPBOcRs+BePCW1zKh+a/ooZkyai6Ls2Tk
-----END PRIVATE KEY-----
";

    #[test]
    fn a_key_of_openssl_and_one_of_our_own_are_read() {
        let seal = Seal::of_pem(OPENSSL).unwrap();
        assert_eq!(
            hex(seal.public_key()),
            "11b561a18a67485e6c0271da978784f318e269bae69a2bf593d78f2d146cdd08"
        );
        let (made, pem) = Seal::generate().unwrap();
        assert_eq!(Seal::of_pem(&pem).unwrap().public_key(), made.public_key());
        for wrong in ["", "-----BEGIN PRIVATE KEY-----", &pem[..60], &pem.replace('M', "N"), &pem[28..]] {
            assert_eq!(Seal::of_pem(wrong).unwrap_err(), SealError::NoKey, "{wrong}");
        }
        assert!(!format!("{made:?}").contains(&pem[60..80]));
    }

    proptest! {
        #[test]
        fn an_anchor_reads_back_and_nothing_of_it_can_be_changed(
            number: i64, hash: [u8; 32], at in 0..250_000_000_000_000_000_i64, byte in 0_usize..144, bit in 0..8,
        ) {
            let (seal, _) = Seal::generate().unwrap();
            let anchor = seal.sign(TenantId::SYSTEM, number, hash, at).unwrap();
            prop_assert!(anchor.is_genuine());
            prop_assert_eq!(Anchor::of_line(&anchor.to_line()), Some(anchor.clone()));
            let mut changed = anchor.clone();
            let flip = 1_u8 << bit;
            match byte {
                0..32 => changed.hash[byte] ^= flip,
                32..96 => changed.signature[byte - 32] ^= flip,
                96..128 => changed.public_key[byte - 96] ^= flip,
                128..136 => changed.number ^= i64::from(flip) << (8 * (byte - 128)),
                _ => changed.at_micros ^= i64::from(flip) << (8 * (byte - 136)),
            }
            prop_assert!(!changed.is_genuine());
            let moved = Anchor { tenant: TenantId::new(uuid::Uuid::from_u128(7)), ..anchor };
            prop_assert!(!moved.is_genuine());
        }
    }
}
