//! Messages that hold a secret show the rest of themselves.

use std::fmt;

use crate::v1;

macro_rules! show_without_secrets {
    ($($message:ident { $($shown:ident)* })*) => {$(
        impl fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct(stringify!($message));
                $(shown.field(stringify!($shown), &self.$shown);)*
                shown.finish_non_exhaustive()
            }
        }
    )*};
}

include!(concat!(env!("OUT_DIR"), "/discreet.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_keys_are_not_shown() {
        let secret = || Some("sk-secret".to_owned());
        let created = v1::CreateProviderRequest {
            name: "acme".to_owned(),
            api_key: secret(),
            secret_access_key: secret(),
            session_token: secret(),
            service_account_key: secret(),
            ..v1::CreateProviderRequest::default()
        };
        let changed = v1::UpdateProviderRequest {
            provider: "acme".to_owned(),
            api_key: secret(),
            ..v1::UpdateProviderRequest::default()
        };
        let made = v1::CreatedTenant {
            name: "acme".to_owned(),
            admin_key: "sk-secret".to_owned(),
            ..v1::CreatedTenant::default()
        };
        for shown in [format!("{created:?}"), format!("{changed:#?}"), format!("{made:?}")] {
            assert!(shown.contains("acme") && !shown.contains("secret"), "{shown}");
        }
    }
}
