//! Which kind of provider has a use for which option.

use super::embedding::{Provider, ProviderKind};

impl Provider {
    /// An option that is given and that `kind` has no use for.
    pub fn useless_option(&self, kind: ProviderKind) -> Option<&'static str> {
        let useful = useful(kind);
        let given = self.given();
        let useless = given.iter().find(|(option, given)| *given && !useful.contains(option));
        useless.map(|(option, _)| *option)
    }

    /// Every option that some kinds have no use for, and whether it is there.
    fn given(&self) -> [(&'static str, bool); 15] {
        // named one by one, so that a new option cannot be forgotten here
        let Self {
            kind: _,
            enabled: _,
            models: _,
            model_names: _,
            timeout: _,
            rate_limit: _,
            api_key,
            base_url,
            region,
            api_version,
            project,
            credentials_file,
            metadata_url,
            service_account_key,
            access_key_id,
            secret_access_key,
            session_token,
            profile,
            assume_role_arn,
            external_id,
            sts_url,
        } = self;
        [
            ("api_key", api_key.is_some()),
            ("base_url", base_url.is_some()),
            ("region", region.is_some()),
            ("api_version", api_version.is_some()),
            ("project", project.is_some()),
            ("credentials_file", credentials_file.is_some()),
            ("metadata_url", metadata_url.is_some()),
            ("service_account_key", service_account_key.is_some()),
            ("access_key_id", access_key_id.is_some()),
            ("secret_access_key", secret_access_key.is_some()),
            ("session_token", session_token.is_some()),
            ("profile", profile.is_some()),
            ("assume_role_arn", assume_role_arn.is_some()),
            ("external_id", external_id.is_some()),
            ("sts_url", sts_url.is_some()),
        ]
    }
}

fn useful(kind: ProviderKind) -> &'static [&'static str] {
    match kind {
        ProviderKind::OpenAi | ProviderKind::Gemini | ProviderKind::Voyage | ProviderKind::Cohere => {
            &["api_key", "base_url"]
        }
        ProviderKind::AzureOpenAi => &["api_key", "base_url", "api_version"],
        ProviderKind::Bedrock => &[
            "base_url",
            "region",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "profile",
            "assume_role_arn",
            "external_id",
            "sts_url",
        ],
        ProviderKind::Vertex => {
            &["base_url", "region", "project", "credentials_file", "metadata_url", "service_account_key"]
        }
        ProviderKind::Local => &[],
    }
}
