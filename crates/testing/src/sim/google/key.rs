//! The key pair of a service account, made at the first need, and its key file.

use jsonwebtoken::DecodingKey;
use serde_json::json;

/// A service account's key.
pub(super) struct AccountKey {
    private: String,
    public: DecodingKey,
    pub id: String,
}

/// Who signs.
pub(super) const EMAIL: &str = "embedder@simulated.iam.gserviceaccount.com";

impl AccountKey {
    /// RSA with 2,048 bits.
    #[expect(
        clippy::expect_used,
        reason = "a machine that cannot make an RSA key cannot run the tests that need one"
    )]
    pub fn generate() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("an RSA key");
        let public = DecodingKey::from_rsa_pem(pair.public_key_pem().as_bytes()).expect("its public half");
        let id = blake3::hash(pair.public_key_raw()).to_hex()[..40].to_owned();
        Self { private: pair.serialize_pem(), public, id }
    }

    /// What signatures are checked with.
    pub const fn public(&self) -> &DecodingKey {
        &self.public
    }

    /// The JSON that Google lets an operator download.
    pub fn file(&self, project: &str, token_uri: &str) -> String {
        json!({
            "type": "service_account",
            "project_id": project,
            "private_key_id": self.id,
            "private_key": self.private,
            "client_email": EMAIL,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        })
        .to_string()
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountKey").field("id", &self.id).finish_non_exhaustive()
    }
}
