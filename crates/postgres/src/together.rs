//! Statements of one transaction that leave without waiting for each other.

use futures::future::join_all;

use crate::DbError;

/// The answers of all `statements`, in their order, or why their transaction failed.
///
/// The first that fails makes those behind it fail too, with [`DbError::Aborted`]. Which is the first is not told by the order
/// here: one whose statement is not yet prepared leaves after the others.
///
/// # Errors
/// The first that is not [`DbError::Aborted`], else that.
pub async fn together<T>(
    statements: impl IntoIterator<Item = impl Future<Output = Result<T, DbError>>>,
) -> Result<Vec<T>, DbError> {
    let outcomes = join_all(statements).await;
    let failed = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    // false is less than true, and of equals the first is taken
    match failed.min_by_key(|error| **error == DbError::Aborted) {
        Some(cause) => Err(cause.clone()),
        None => outcomes.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn the_cause_is_told_wherever_it_stands() {
        let cause = || DbError::UniqueViolation { constraint: "charges_pkey".to_owned() };
        let all = [Ok(1), Err(DbError::Aborted), Err(cause()), Err(DbError::RowCount(0))];
        assert_eq!(together(all.map(ready)).await, Err(cause()));
        assert_eq!(together([Ok(1), Err(DbError::Aborted)].map(ready)).await, Err(DbError::Aborted));
        assert_eq!(together([Ok(1), Ok(2)].map(ready)).await, Ok(vec![1, 2]));
    }
}
