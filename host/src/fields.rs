//! A macro for the fields of a record.

/// The fields of a record or the metrics of a step: `fields! { step: 10, loss, "lr/encoder": 3e-4 }`.
///
/// A name is an identifier or a string literal; an identifier without a value means the variable of that name. A
/// value is anything that converts into a [`Value`](crate::Value): numbers, text, booleans, options of these, and
/// `serde_json::Value` for arrays and objects.
///
/// ```
/// use model_foundry::{Field, fields};
///
/// let loss = 0.25;
/// let fields = fields! { step: 10, loss, "lr/encoder": 3e-4 };
/// assert_eq!(fields[0], Field::new("step", 10));
/// assert_eq!(fields[1], Field::new("loss", 0.25));
/// assert_eq!(fields[2].name, "lr/encoder");
/// ```
#[macro_export]
macro_rules! fields {
    (@list [$($done:expr,)*]) => { ::std::vec![$($done),*] };
    (@list [$($done:expr,)*] $name:ident : $value:expr $(, $($rest:tt)*)?) => {
        $crate::fields!(@list [$($done,)* $crate::fields!(@field stringify!($name), $value),] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] $name:literal : $value:expr $(, $($rest:tt)*)?) => {
        $crate::fields!(@list [$($done,)* $crate::fields!(@field $name, $value),] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] $name:ident $(, $($rest:tt)*)?) => {
        $crate::fields!(@list [$($done,)* $crate::fields!(@field stringify!($name), $name),] $($($rest)*)?)
    };
    (@field $name:expr, $value:expr) => {
        $crate::Field::new($name, $value)
    };
    () => { ::std::vec::Vec::<$crate::Field>::new() };
    ($($fields:tt)+) => { $crate::fields!(@list [] $($fields)+) };
}
