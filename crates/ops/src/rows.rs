//! Tables of element-wise functions: activations and regression losses.

/// Turns rows into an enum, its properties, and a dispatch over each function and its derivative.
///
/// A row is: documentation; variant, with its attribute (default, domain in words and as a
/// condition) where it has one; name in recipes; the function in PyTorch; columns of the table, as
/// fields of `$Columns`; the function; its derivative. In both, `T` is the type of the values, and
/// the attribute is such a value.
///
/// `$d` is a dollar sign, for the macro inside.
macro_rules! rows {
    (
        ($d:tt)
        $(#[$meta:meta])*
        pub enum $Enum:ident with $Columns:ident;
        $(
            $(#[doc = $doc:literal])+
            $Name:ident $({
                $(#[doc = $about:literal])+
                $attribute:ident = $default:literal, $domain:literal if $valid:expr
            })?
            = $name:literal, $torch:literal, { $($column:ident: $value:expr),+ $(,)? },
            |$($x:ident),+| $f:expr,
            |$($v:ident),+| $df:expr;
        )+
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum $Enum {
            $(
                $(#[doc = $doc])+
                $Name $({
                    $(#[doc = $about])+
                    $attribute: f64,
                })?,
            )+
        }

        impl $Enum {
            /// Every row of the table, with the usual attributes.
            pub const ALL: &[Self] = &[$(Self::$Name $({ $attribute: $default })?),+];

            /// Its name in recipes and tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Name { .. } => $name,)+
                }
            }

            /// Its equation, with the source.
            pub fn documentation(self) -> &'static str {
                match self {
                    $(Self::$Name { .. } => concat!($($doc),+).trim_start(),)+
                }
            }

            /// The function as a PyTorch expression.
            pub const fn torch(self) -> &'static str {
                match self {
                    $(Self::$Name { .. } => $torch,)+
                }
            }

            /// Name and value of its attribute, where it has one.
            pub const fn attribute(self) -> Option<(&'static str, f64)> {
                match self {
                    $($(Self::$Name { $attribute } => {
                        Some((stringify!($attribute), $attribute))
                    })?)+
                    _ => None,
                }
            }

            /// The same function with another value of its attribute, where it has one.
            #[must_use]
            pub const fn with_attribute(self, value: f64) -> Self {
                match self {
                    $($(Self::$Name { .. } => Self::$Name { $attribute: value },)?)+
                    other => other,
                }
            }

            /// Checks the domain of its attribute.
            ///
            /// # Errors
            /// The value is outside it; the message is for a person.
            pub fn validate(self) -> Result<(), String> {
                let (rule, found) = match self {
                    $($(Self::$Name { $attribute } if !$valid => {
                        ($domain, $attribute)
                    })?)+
                    _ => return Ok(()),
                };
                Err(format!("{rule}, found {found}"))
            }

            #[allow(unused_variables)] // Most columns do not depend on the attribute.
            pub(super) fn columns(self) -> $Columns {
                match self {
                    $(Self::$Name $({ $attribute })? => $Columns { $($column: $value),+ },)+
                }
            }
        }

        /// Calls `$go(f, df)` with the functions of one row, so that the loop around them is
        /// compiled for each. Both are inlined into that loop for each instruction set, and own
        /// what they capture, so that it stays in registers.
        macro_rules! with_functions {
            ($d row:expr, $d T:ident, $d go:ident) => {
                match $d row {
                    $($Enum::$Name $({ $attribute })? => {
                        $(let $attribute = $d T::of($attribute);)?
                        $d go!(
                            #[inline(always)]
                            move |$($x: $d T),+| $f,
                            #[inline(always)]
                            move |$($v: $d T),+| $df
                        )
                    })+
                }
            };
        }
        pub(super) use with_functions;
    };
}
pub(crate) use rows;
