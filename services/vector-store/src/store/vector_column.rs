//! Vectors on the wire to and from PostgreSQL, in the binary form of pgvector's `halfvec` and `vector`: two 16-bit numbers, the
//! dimensions and zero, then the numbers, all big-endian.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use embermesh_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use half::f16;

type Failure = Box<dyn Error + Sync + Send>;

/// A vector for a parameter; the parameter's type decides about the precision.
#[derive(Debug)]
pub(crate) struct Outgoing<'a>(pub(crate) &'a [f32]);

/// A vector from a column.
#[derive(Debug)]
pub(crate) struct Incoming(pub(crate) Vec<f32>);

const HALF: &str = "halfvec";
const FLOAT: &str = "vector";

fn is_vector(of: &Type) -> bool {
    matches!(of.name(), HALF | FLOAT)
}

impl ToSql for Outgoing<'_> {
    fn to_sql(&self, of: &Type, to: &mut BytesMut) -> Result<IsNull, Failure> {
        let half = of.name() == HALF;
        to.reserve(4 + self.0.len() * if half { 2 } else { 4 });
        to.put_u16(u16::try_from(self.0.len())?);
        to.put_u16(0);
        if half {
            self.0.iter().for_each(|x| to.put_u16(f16::from_f32(*x).to_bits()));
        } else {
            self.0.iter().for_each(|x| to.put_f32(*x));
        }
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        is_vector(of)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Incoming {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        let (head, numbers) = raw.split_first_chunk::<4>().ok_or("a vector is cut off")?;
        let dimensions = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let values: Vec<f32> = if of.name() == HALF {
            let halves = numbers.as_chunks::<2>().0.iter();
            halves.map(|bytes| f16::from_be_bytes(*bytes).to_f32()).collect()
        } else {
            numbers.as_chunks::<4>().0.iter().map(|bytes| f32::from_be_bytes(*bytes)).collect()
        };
        if values.len() != dimensions {
            return Err("a vector has another length than it says".into());
        }
        Ok(Self(values))
    }

    fn accepts(of: &Type) -> bool {
        is_vector(of)
    }
}
