//! A field that is a number or a percentage of another number, as `maxSurge: 25%`.

/// An integer, or a percentage of a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntOrPercent {
    /// So many.
    Int(i32),
    /// So many hundredths of the total.
    Percent(i32),
}

/// Which way a percentage of a total is rounded to a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To the next larger whole number.
    Up,
    /// To the next smaller whole number.
    Down,
}

/// A text that is not digits followed by `%`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a number nor a percentage such as \"25%\"")]
pub struct NotAPercentage(pub String);

impl IntOrPercent {
    /// Reads the text form, digits and `%`. A bare number in quotes is refused, as the API refuses it.
    ///
    /// # Errors
    /// The text is of another form or too large.
    pub fn parse_percent(text: &str) -> Result<Self, NotAPercentage> {
        let digits = text.strip_suffix('%').ok_or_else(|| NotAPercentage(text.to_owned()))?;
        match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse().map(Self::Percent).map_err(|_| NotAPercentage(text.to_owned())),
            false => Err(NotAPercentage(text.to_owned())),
        }
    }

    /// The number it stands for, given the total.
    #[must_use]
    pub fn of(self, total: i32, rounding: Rounding) -> i32 {
        match self {
            Self::Int(n) => n,
            Self::Percent(percent) => {
                let product = i64::from(percent) * i64::from(total);
                let value = match rounding {
                    Rounding::Up => product.div_euclid(100) + i64::from(product.rem_euclid(100) > 0),
                    Rounding::Down => product.div_euclid(100),
                };
                i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_the_caller_says() {
        let quarter = IntOrPercent::parse_percent("25%").expect("a percentage");
        assert_eq!((quarter.of(10, Rounding::Up), quarter.of(10, Rounding::Down)), (3, 2));
        assert_eq!(IntOrPercent::Int(7).of(1, Rounding::Up), 7);
        assert!(IntOrPercent::parse_percent("25").is_err() && IntOrPercent::parse_percent("%").is_err());
    }
}
