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

    pub(crate) fn of(tenant: [u8; TENANT], space: [u8; SPACE], text: [u8; TEXT]) -> Self {
        let mut key = [0; LENGTH];
        key[..TENANT].copy_from_slice(&tenant);
        key[TENANT..TENANT + SPACE].copy_from_slice(&space);
        key[TENANT + SPACE..].copy_from_slice(&text);
        Self(key)
    }

    /// The tag of its tenant.
    pub fn tenant(&self) -> &[u8] {
        &self.0[..TENANT]
    }

    /// The tag of its space.
    pub fn space(&self) -> &[u8] {
        &self.0[TENANT..TENANT + SPACE]
    }

    /// The hash over everything.
    pub fn text(&self) -> &[u8] {
        &self.0[TENANT + SPACE..]
    }
}

/// A set of keys; what it is not restricted to, it holds all of. Tags are short: once in billions it holds a key of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keys {
    tenant: Option<[u8; TENANT]>,
    space: Option<[u8; SPACE]>,
}

impl Keys {
    /// Only those of `tenant`, the 16 bytes of its id.
    #[must_use]
    pub fn of_tenant(self, tenant: &[u8; 16]) -> Self {
        Self { tenant: Some(tenant_tag(tenant)), ..self }
    }

    /// Only those in `space`.
    #[must_use]
    pub fn in_space(self, space: &str) -> Self {
        Self { space: Some(space_tag(space)), ..self }
    }

    /// Whether `key` is one of them.
    pub fn contain(&self, key: &VectorKey) -> bool {
        self.tenant.is_none_or(|tenant| key.tenant() == tenant)
            && self.space.is_none_or(|space| key.space() == space)
    }
}

pub(crate) fn tenant_tag(tenant: &[u8; 16]) -> [u8; TENANT] {
    tag("embermesh 2026 cache tag of a tenant", tenant)
}

pub(crate) fn space_tag(space: &str) -> [u8; SPACE] {
    tag("embermesh 2026 cache tag of a space", space.as_bytes())
}

fn tag<const N: usize>(context: &str, of: &[u8]) -> [u8; N] {
    let mut tag = [0; N];
    blake3::Hasher::new_derive_key(context).update(of).finalize_xof().fill(&mut tag);
    tag
}
