//! The `Authorization` header of a signed request.

/// `AWS4-HMAC-SHA256 Credential=<id>/<day>/<region>/<service>/aws4_request, SignedHeaders=<a;b>, Signature=<hex>`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credential<'a> {
    pub access_key_id: &'a str,
    pub day: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    pub signed_headers: Vec<&'a str>,
    pub signature: &'a str,
}

impl<'a> Credential<'a> {
    /// Reads it, or says what is wrong.
    pub fn read(authorization: &'a str) -> Result<Self, String> {
        let fields = authorization
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .ok_or("authorization must begin with AWS4-HMAC-SHA256")?;
        let field = |name: &str| {
            let value =
                fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
            value.ok_or_else(|| format!("authorization lacks {name}"))
        };
        let credential: Vec<&str> = field("Credential")?.split('/').collect();
        let [access_key_id, day, region, service, "aws4_request"] = credential[..] else {
            return Err("credential must be <id>/<day>/<region>/<service>/aws4_request".to_owned());
        };
        let signed_headers = field("SignedHeaders")?.split(';').collect();
        Ok(Self { access_key_id, day, region, service, signed_headers, signature: field("Signature")? })
    }

    pub fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.day, self.region, self.service)
    }
}
