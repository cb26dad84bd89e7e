//! Lossless floats in JSON: NaN and the infinities, which JSON lacks, are written as words.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Storable floats: one, an optional one, or a list.
pub(super) trait Exact: Sized {
    type Stored: Serialize + for<'de> Deserialize<'de>;
    fn store(&self) -> Self::Stored;
    fn load(stored: Self::Stored) -> Option<Self>;
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Finite(f64),
    Word(String),
}

impl Exact for f64 {
    type Stored = Number;

    fn store(&self) -> Number {
        match *self {
            x if x.is_finite() => Number::Finite(x),
            x if x.is_nan() => Number::Word("nan".into()),
            x if x > 0.0 => Number::Word("inf".into()),
            _ => Number::Word("-inf".into()),
        }
    }

    fn load(stored: Number) -> Option<f64> {
        match stored {
            Number::Finite(x) => Some(x),
            Number::Word(word) => match word.as_str() {
                "nan" => Some(f64::NAN),
                "inf" => Some(f64::INFINITY),
                "-inf" => Some(f64::NEG_INFINITY),
                _ => None,
            },
        }
    }
}

impl Exact for Option<f64> {
    type Stored = Option<Number>;

    fn store(&self) -> Self::Stored {
        self.as_ref().map(Exact::store)
    }

    fn load(stored: Self::Stored) -> Option<Self> {
        stored.map_or(Some(None), |x| f64::load(x).map(Some))
    }
}

impl Exact for Vec<f64> {
    type Stored = Vec<Number>;

    fn store(&self) -> Self::Stored {
        self.iter().map(Exact::store).collect()
    }

    fn load(stored: Self::Stored) -> Option<Self> {
        stored.into_iter().map(f64::load).collect()
    }
}

pub(super) fn serialize<T: Exact, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.store().serialize(to)
}

pub(super) fn deserialize<'de, T: Exact, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::load(T::Stored::deserialize(from)?)
        .ok_or_else(|| D::Error::custom("expected a number, or \"nan\", \"inf\" or \"-inf\""))
}
