//! Which API a deployment speaks, and the credentials that it insists on.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An embedding API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI's, and that of every server compatible with it.
    #[default]
    #[serde(rename = "openai")]
    OpenAi,
    /// Azure OpenAI, by deployment URL and as v1.
    #[serde(rename = "azure_openai")]
    AzureOpenAi,
    /// AWS Bedrock's InvokeModel.
    Bedrock,
    /// Google Vertex AI's predict.
    Vertex,
    /// Google's Gemini API.
    Gemini,
    /// Voyage AI.
    Voyage,
    /// Cohere, version 2.
    Cohere,
}

impl Api {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OpenAi,
        Self::AzureOpenAi,
        Self::Bedrock,
        Self::Vertex,
        Self::Gemini,
        Self::Voyage,
        Self::Cohere,
    ];

    /// Its name on the command line and in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure_openai",
            Self::Bedrock => "bedrock",
            Self::Vertex => "vertex",
            Self::Gemini => "gemini",
            Self::Voyage => "voyage",
            Self::Cohere => "cohere",
        }
    }
}

impl FromStr for Api {
    type Err = UnknownApi;

    fn from_str(name: &str) -> Result<Self, UnknownApi> {
        Self::ALL.into_iter().find(|api| api.as_str() == name).ok_or_else(|| UnknownApi(name.to_owned()))
    }
}

/// Not the name of an API.
#[derive(Debug, thiserror::Error)]
#[error("no API is called {0}; use one of {names}", names = Api::ALL.map(Api::as_str).join(", "))]
pub struct UnknownApi(String);

/// The key pair that requests must be signed with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsKeys {
    /// Public half.
    pub access_key_id: String,
    /// Secret half.
    pub secret_access_key: String,
    /// To be sent along, when the keys are temporary.
    #[serde(default)]
    pub session_token: Option<String>,
    /// The region in the credential scope.
    pub region: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_everywhere() {
        for api in Api::ALL {
            assert_eq!(api.as_str().parse::<Api>().unwrap(), api);
            assert_eq!(serde_json::to_value(api).unwrap(), api.as_str());
        }
        assert!("openal".parse::<Api>().unwrap_err().to_string().contains("azure_openai"));
    }
}
