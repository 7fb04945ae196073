//! The words of texts: in which language they are read, and how SQL writes that.

use embermesh_postgres::DbError;

use super::Pools;
use crate::{StartError, TextSearch, domain::language};

/// Words of a query that count. Of a longer one the first do.
const MAX_WORDS: i64 = 32;

/// How words are read.
pub(crate) struct Words {
    pub(super) language: String,
    /// Of a text that is being stored, with their language; nothing where words are not kept.
    pub(super) columns_of_new: String,
    /// Of a row; indexes have the same.
    pub(super) of_row: String,
}

/// What a query looks for.
pub(super) struct WordQuery {
    /// All of it, with its quotes, `or` and `-`.
    pub(super) whole: String,
    /// Any of its words.
    pub(super) any: String,
    /// Each of its words.
    pub(super) words: Vec<String>,
}

impl Words {
    /// Reads how words are written, and makes sure that PostgreSQL knows the language.
    pub(crate) async fn load(pools: &Pools, settings: &TextSearch) -> Result<Self, StartError> {
        let name = &settings.language;
        let sql = "SELECT words_of_text($1), words_of_row($1),
                coalesce(bool_or($1 IN (c.cfgname, n.nspname || '.' || c.cfgname)), false),
                string_agg(c.cfgname, ', ' ORDER BY c.cfgname) FILTER (WHERE pg_ts_config_is_visible(c.oid))
            FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace
            WHERE pg_ts_config_is_visible(c.oid) OR $1 = n.nspname || '.' || c.cfgname";
        let row = pools.owner.system().query_one(sql, &[name]).await?;
        let (of_text, of_row, is_known, known): (String, String, bool, String) =
            (|| Ok::<_, DbError>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))()?;
        if !is_known {
            return Err(StartError::Setting(format!(
                "text_search.language is `{name}`, PostgreSQL knows {known}"
            )));
        }
        let columns_of_new = if settings.keep_words {
            format!("'{name}', {of_text}")
        } else {
            "NULL::text, NULL::tsvector".to_owned()
        };
        Ok(Self { language: name.clone(), columns_of_new, of_row })
    }

    /// The end of an index's name.
    pub(super) fn in_index_name(&self) -> String {
        language::in_index_name(&self.language)
    }
}

impl super::Store {
    /// Reads a query; none when it has no words, as one of stop words alone.
    pub(super) async fn word_query(&self, text: &str) -> Result<Option<WordQuery>, DbError> {
        let language = &self.words.language;
        // `'` and `\` are quoted as the text form of a query wants it
        let sql = format!(
            r"SELECT websearch_to_tsquery('{language}'::regconfig, $1)::text, array_agg(word), string_agg(word, '|')
            FROM (
                SELECT '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''' AS word
                FROM unnest(to_tsvector('{language}'::regconfig, left($1, 65536)))
                ORDER BY positions[1], lexeme LIMIT $2
            ) AS words"
        );
        let row = self.pools.app.system().query_one(&sql, &[&text, &MAX_WORDS]).await?;
        let (whole, words, any): (String, Option<Vec<String>>, Option<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(words.zip(any).map(|(words, any)| WordQuery { whole, any, words }))
    }
}
