//! Fields of a record, written as they are read.

/// The fields of a record or the metrics of a step: `fields! { step: 10, loss, "lr/encoder": 3e-4 }`.
///
/// A name is an identifier or a text; an identifier alone stands for the variable of that name. A value
/// is anything that a [`Value`](crate::Value) is made from: numbers, text, truth values, options of
/// these, and `serde_json::Value` for lists and objects.
///
/// ```
/// use model_foundry::{Value, fields};
///
/// let loss = 0.25;
/// let fields = fields! { step: 10, loss, "lr/encoder": 3e-4 };
/// assert_eq!(fields[0], ("step".to_owned(), Value::Integer(10)));
/// assert_eq!(fields[1], ("loss".to_owned(), Value::Float(0.25)));
/// assert_eq!(fields[2].0, "lr/encoder");
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
        (::std::string::String::from($name), $crate::Value::from($value))
    };
    () => { ::std::vec::Vec::<$crate::Field>::new() };
    ($($fields:tt)+) => { $crate::fields!(@list [] $($fields)+) };
}
