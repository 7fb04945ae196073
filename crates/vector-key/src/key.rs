//! Keys, and sets of them.

/// Bytes of a key.
pub const LENGTH: usize = TENANT + SPACE + TEXT;

const TENANT: usize = 8;
const SPACE: usize = 4;
const TEXT: usize = 32;

/// Stands for a tenant, a space, an input type and a text. The last 32 bytes are a hash over all of them; the tags of tenant and space
/// before it add nothing to that, they only let all keys of a tenant or a space be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VectorKey(pub [u8; LENGTH]);

impl VectorKey {
    /// A key that nobody else makes, from a random number: for what may not be shared.
    pub fn lone(random: [u8; 16]) -> Self {
        let mut key = [0; LENGTH];
        blake3::Hasher::new_derive_key("embermesh 2026 lone cache key")
            .update(&random)
            .finalize_xof()
            .fill(&mut key);
        Self(key)
    }

    pub(crate) fn of(keys: &Keys, space: [u8; SPACE], text: [u8; TEXT]) -> Self {
        let mut key = [0; LENGTH];
        key[..TENANT].copy_from_slice(&keys.tenant);
        key[TENANT..TENANT + SPACE].copy_from_slice(&space);
        key[TENANT + SPACE..].copy_from_slice(&text);
        Self(key)
    }

    /// The tag of its tenant.
    pub fn tenant(&self) -> &[u8] {
        &self.0[..TENANT]
    }

    /// The tag of its space, which is another one for every tenant.
    pub fn space(&self) -> &[u8] {
        &self.0[TENANT..TENANT + SPACE]
    }

    /// The hash over everything.
    pub fn text(&self) -> &[u8] {
        &self.0[TENANT + SPACE..]
    }
}

/// The keys of a tenant, in one space or in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    tenant: [u8; TENANT],
    space: Option<[u8; SPACE]>,
}

impl Keys {
    /// All keys of `tenant`, the 16 bytes of its id.
    pub fn of_tenant(tenant: &[u8; 16]) -> Self {
        Self { tenant: tag("embermesh 2026 cache tag of a tenant", &[tenant]), space: None }
    }

    /// Those of them in `space`.
    #[must_use]
    pub fn in_space(self, space: &str) -> Self {
        Self { space: Some(self.space_tag(space)), ..self }
    }

    /// Whether `key` is one of them. Tags are short: once in billions a key of somebody else is.
    pub fn contain(&self, key: &VectorKey) -> bool {
        key.tenant() == self.tenant && self.space.is_none_or(|space| key.space() == space)
    }

    pub(crate) fn space_tag(&self, space: &str) -> [u8; SPACE] {
        tag("embermesh 2026 cache tag of a space", &[&self.tenant, space.as_bytes()])
    }
}

fn tag<const N: usize>(context: &str, parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    let mut tag = [0; N];
    hasher.finalize_xof().fill(&mut tag);
    tag
}
