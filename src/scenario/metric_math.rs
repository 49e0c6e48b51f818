//! Metric math: the part of CloudWatch's expressions that scaling on a backlog needs.
//!
//! Rule: numbers, ids of queries, `+ - * /`, brackets, and the functions `MAX`, `MIN` (of two or more), `ABS`, `CEIL`,
//! `FLOOR` and `FILL(m, n)`, which puts a number where a point is missing. Without `FILL` an expression has a point only
//! where all its queries have one, and a division by zero has none.
//!
//! Source: CloudWatch user guide, `using-metric-math`. Known departures: no time series functions, no `IF`, no comparisons.

/// An expression over queries.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    root: Term,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Number(f64),
    Query(String),
    Negative(Box<Term>),
    Binary(char, Box<Term>, Box<Term>),
    Call(Function, Vec<Term>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Max,
    Min,
    Abs,
    Ceil,
    Floor,
    Fill,
}

/// Why an expression cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Something else was expected here.
    #[error("expected {expected} at character {at}")]
    Unexpected {
        /// What.
        expected: &'static str,
        /// Counted from 1.
        at: usize,
    },
    /// No such function.
    #[error("there is no function `{0}`: there are MAX, MIN, ABS, CEIL, FLOOR, FILL")]
    Function(String),
    /// A function takes another number of arguments.
    #[error("`{0}` does not take {1} arguments")]
    Arguments(&'static str, usize),
    /// Brackets within brackets without end.
    #[error("the expression is nested too deeply")]
    Depth,
}

const MAX_DEPTH: usize = 64;

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// When the text is not one.
    ///
    /// ```
    /// use simctl::scenario::metric_math::Expression;
    ///
    /// let backlog = Expression::parse("FILL(visible, 0) / tasks")?;
    /// assert_eq!(backlog.value(&|id| match id { "visible" => Some(900.0), _ => Some(3.0) }), Some(300.0));
    /// assert_eq!(backlog.value(&|id| (id == "visible").then_some(1.0)), None);
    /// # Ok::<(), simctl::scenario::metric_math::ExpressionError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let mut reader = Reader { text: text.chars().collect(), at: 0, depth: 0 };
        let root = reader.sum()?;
        match reader.peek() {
            None => Ok(Self { root }),
            Some(_) => Err(reader.unexpected("an operator or the end")),
        }
    }

    /// Its value, with the values of queries by id; `None` where a point is missing.
    #[must_use]
    pub fn value(&self, of: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
        self.root.value(of).filter(|v| v.is_finite())
    }

    /// The ids that it uses, each once.
    #[must_use]
    pub fn queries(&self) -> Vec<&str> {
        let mut ids = Vec::new();
        self.root.queries(&mut ids);
        ids
    }
}

impl Term {
    fn value(&self, of: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Query(id) => of(id),
            Self::Negative(t) => t.value(of).map(|v| -v),
            Self::Binary(op, a, b) => {
                let (a, b) = (a.value(of)?, b.value(of)?);
                match op {
                    '+' => Some(a + b),
                    '-' => Some(a - b),
                    '*' => Some(a * b),
                    _ => (b != 0.0).then(|| a / b),
                }
            }
            Self::Call(Function::Fill, terms) => terms.iter().find_map(|t| t.value(of)),
            Self::Call(function, terms) => {
                let values: Option<Vec<f64>> = terms.iter().map(|t| t.value(of)).collect();
                values?.into_iter().reduce(|a, b| if *function == Function::Min { a.min(b) } else { a.max(b) }).map(
                    |v| match function {
                        Function::Abs => v.abs(),
                        Function::Ceil => v.ceil(),
                        Function::Floor => v.floor(),
                        _ => v,
                    },
                )
            }
        }
    }

    fn queries<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Self::Number(_) => {}
            Self::Query(id) if into.contains(&id.as_str()) => {}
            Self::Query(id) => into.push(id),
            Self::Negative(t) => t.queries(into),
            Self::Binary(_, a, b) => {
                a.queries(into);
                b.queries(into);
            }
            Self::Call(_, terms) => terms.iter().for_each(|t| t.queries(into)),
        }
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn peek(&mut self) -> Option<char> {
        while self.text.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn unexpected(&self, expected: &'static str) -> ExpressionError {
        ExpressionError::Unexpected { expected, at: self.at + 1 }
    }

    fn sum(&mut self) -> Result<Term, ExpressionError> {
        self.binary(&['+', '-'], Self::product)
    }

    fn product(&mut self) -> Result<Term, ExpressionError> {
        self.binary(&['*', '/'], Self::factor)
    }

    fn binary(
        &mut self,
        ops: &[char],
        part: fn(&mut Self) -> Result<Term, ExpressionError>,
    ) -> Result<Term, ExpressionError> {
        let mut left = part(self)?;
        while let Some(op) = self.peek().filter(|c| ops.contains(c)) {
            self.at += 1;
            left = Term::Binary(op, Box::new(left), Box::new(part(self)?));
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Term, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpressionError::Depth);
        }
        let term = match self.peek() {
            Some('-') => {
                self.at += 1;
                Ok(Term::Negative(Box::new(self.factor()?)))
            }
            Some('(') => {
                self.at += 1;
                let inner = self.sum()?;
                self.take(')').then_some(inner).ok_or_else(|| self.unexpected("`)`"))
            }
            Some(c) if c.is_ascii_digit() || c == '.' => {
                let number = self.word(|c| c.is_ascii_digit() || c == '.');
                number.parse().map(Term::Number).map_err(|_| self.unexpected("a number"))
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let word = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
                if self.peek() == Some('(') { self.call(&word) } else { Ok(Term::Query(word)) }
            }
            _ => Err(self.unexpected("a number, an id or `(`")),
        };
        self.depth -= 1;
        term
    }

    fn word(&mut self, of: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.text.get(self.at).is_some_and(|c| of(*c)) {
            self.at += 1;
        }
        self.text[from..self.at].iter().collect()
    }

    fn call(&mut self, name: &str) -> Result<Term, ExpressionError> {
        let (function, least, most) = match name {
            "MAX" => (Function::Max, 1, usize::MAX),
            "MIN" => (Function::Min, 1, usize::MAX),
            "ABS" => (Function::Abs, 1, 1),
            "CEIL" => (Function::Ceil, 1, 1),
            "FLOOR" => (Function::Floor, 1, 1),
            "FILL" => (Function::Fill, 2, 2),
            _ => return Err(ExpressionError::Function(name.to_owned())),
        };
        self.at += 1;
        let mut terms = vec![self.sum()?];
        while self.take(',') {
            terms.push(self.sum()?);
        }
        if !self.take(')') {
            return Err(self.unexpected("`,` or `)`"));
        }
        if terms.len() < least || terms.len() > most {
            return Err(ExpressionError::Arguments(function.name(), terms.len()));
        }
        Ok(Term::Call(function, terms))
    }
}

impl Function {
    const fn name(self) -> &'static str {
        match self {
            Self::Max => "MAX",
            Self::Min => "MIN",
            Self::Abs => "ABS",
            Self::Ceil => "CEIL",
            Self::Floor => "FLOOR",
            Self::Fill => "FILL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<f64> {
        Expression::parse(text).unwrap().value(&|id| match id {
            "m1" => Some(12.0),
            "m2" => Some(5.0),
            _ => None,
        })
    }

    #[test]
    fn it_reckons_as_people_write() {
        assert_eq!(value("m1 / m2"), Some(2.4));
        assert_eq!(value("1 + 2 * 3 - -4 / 2"), Some(9.0));
        assert_eq!(value("(1 + 2) * MAX(m1, m2, 3)"), Some(36.0));
        assert_eq!(value("CEIL(m1 / m2) + MIN(m1, 2) + FLOOR(2.9) + ABS(0 - 1)"), Some(8.0));
        assert_eq!(value("FILL(gone, 0) + m2"), Some(5.0));
        assert_eq!(value("m1 / 0"), None);
        assert_eq!(value("gone + m2"), None);
        assert_eq!(Expression::parse("m1 + m2 * m1").unwrap().queries(), ["m1", "m2"]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["", "m1 +", "(m1", "m1)", "SUM(m1)", "FILL(m1)", "1..2", "m1 m2", "m1 > 3", "CEIL(1, 2)"] {
            assert!(Expression::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Expression::parse(&"(".repeat(10_000)), Err(ExpressionError::Depth));
        assert_eq!(Expression::parse(&"-".repeat(10_000)), Err(ExpressionError::Depth));
    }
}
