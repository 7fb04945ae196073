//! What a key may do.

use std::{fmt, str::FromStr};

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Embed and delete.
    Embed,
    /// Search.
    Search,
    /// Read rows and configuration.
    Read,
    /// Read costs.
    Costs,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Embed, Self::Search, Self::Read, Self::Costs, Self::Admin];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Search => "search",
            Self::Read => "read",
            Self::Costs => "costs",
            Self::Admin => "admin",
        }
    }
}

/// A name that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a scope, choose from embed, search, read, costs, admin")]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| UnknownScope(text.chars().take(40).collect()))
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether the set allows what needs `scope`; `admin` allows everything.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8 | 1 << Scope::Admin as u8) != 0
    }

    /// The scopes in the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & (1 << *scope as u8) != 0)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Reads names, all of which must be scopes.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        names.into_iter().map(str::parse).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | 1 << scope as u8))
    }
}

/// Names with commas between, as they travel in metadata.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_implies_all_and_nothing_else_does() {
        let admin: Scopes = [Scope::Admin].into_iter().collect();
        assert!(Scope::ALL.into_iter().all(|s| admin.allow(s)));
        let search = Scopes::parse(["search"]).unwrap();
        assert!(search.allow(Scope::Search));
        assert!(Scope::ALL.into_iter().filter(|s| *s != Scope::Search).all(|s| !search.allow(s)));
        assert!(!Scopes::default().allow(Scope::Read));
        assert!(Scopes::parse(["embed", "root"]).is_err());
    }

    #[test]
    fn names_survive_the_round_trip() {
        let some = Scopes::parse(["embed", "costs"]).unwrap();
        assert_eq!(Scopes::parse(some.to_string().split(',')), Ok(some));
    }
}
