//! A model as a deployment serves it.

/// A model that a deployment serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Name in requests.
    pub name: String,
    /// What the vectors depend on: deployments of one family give equal vectors under whatever name.
    pub family: String,
    /// Native dimensions.
    pub dims: usize,
    /// Whether `dimensions` may ask for fewer.
    pub shortenable: bool,
    /// The only dimensions that may be asked for; empty means any up to the native ones.
    pub allowed_dims: Vec<usize>,
    /// Most tokens of one input.
    pub max_tokens: usize,
    /// Whether vectors depend on what a text is for (query, document).
    pub asymmetric: bool,
}

impl ModelSpec {
    /// A model whose family is its name, of 8,192 tokens.
    #[must_use]
    pub fn new(name: &str, dims: usize, shortenable: bool) -> Self {
        Self {
            name: name.to_owned(),
            family: name.to_owned(),
            dims,
            shortenable,
            allowed_dims: Vec::new(),
            max_tokens: 8192,
            asymmetric: false,
        }
    }

    /// A model that tells queries from documents and serves `dims` or any of `allowed_dims`.
    #[must_use]
    pub fn asymmetric(name: &str, dims: usize, allowed_dims: &[usize], max_tokens: usize) -> Self {
        Self {
            allowed_dims: allowed_dims.to_vec(),
            max_tokens,
            asymmetric: true,
            ..Self::new(name, dims, !allowed_dims.is_empty())
        }
    }

    /// The dimensions to serve when these are asked for, or why not.
    pub(super) fn dims_asked(&self, asked: Option<usize>) -> Result<usize, String> {
        match asked {
            None => Ok(self.dims),
            Some(_) if !self.shortenable => Err(format!("model {} takes no dimensions", self.name)),
            Some(dims) if self.allowed_dims.is_empty() && (1..=self.dims).contains(&dims) => Ok(dims),
            Some(dims) if self.allowed_dims.contains(&dims) => Ok(dims),
            Some(dims) if self.allowed_dims.is_empty() => {
                Err(format!("dimensions must be 1 to {}, not {dims}", self.dims))
            }
            Some(dims) => Err(format!("dimensions must be one of {:?}, not {dims}", self.allowed_dims)),
        }
    }

    /// The three embedding models that OpenAI serves.
    #[must_use]
    pub fn openai() -> Vec<Self> {
        vec![
            Self::new("text-embedding-3-small", 1536, true),
            Self::new("text-embedding-3-large", 3072, true),
            Self::new("text-embedding-ada-002", 1536, false),
        ]
    }
}
