//! The cluster query language: the expressions of `memberOf` constraints.
//!
//! An expression is `subject operator [argument]`; several are joined by `and`, `or`, `not` (`&&`, `||`,
//! `!`) and parentheses, `and` before `or`. Subjects are `attribute:NAME`, `ec2InstanceId`,
//! `registeredAt`, `runningTasksCount` and `task:group`; `agentVersion` and `agentConnected` are read and
//! can be told apart by [`Expression::unmodelled`], because simulated agents have neither.
//!
//! Source: ECS developer guide, `cluster-query-language`.
//!
//! Not documented, chosen here: an attribute that an instance does not have equals nothing and differs
//! from everything; `task:group` with a negative operator means that no task on the instance fits the
//! positive one; patterns must match the whole value; `>` and `<` compare numbers, or else the numbers
//! between dots, as versions are compared. Patterns are Java's without look-around, back references and
//! possessive quantifiers.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use regex_lite::Regex;

use crate::catalog::{Arch, InstanceType};

/// Longest expression, in characters. Source: AWS CloudFormation, `AWS::ECS::Service PlacementConstraint`.
pub const MAX_LENGTH: usize = 2000;

/// Attributes that every simulated instance has; others are custom ones of its capacity.
pub const BUILT_IN: [&str; 4] = ["ecs.availability-zone", "ecs.instance-type", "ecs.os-type", "ecs.cpu-architecture"];

/// The name of a zone: that of the region and a letter.
#[must_use]
pub fn zone_name(region: &str, zone: u32) -> String {
    format!("{region}{}", char::from(b'a' + (zone % 26) as u8))
}

/// The values of the attributes in [`BUILT_IN`] of an instance, in their order.
#[must_use]
pub fn built_in(region: &str, zone: u32, instance_type: &InstanceType) -> [String; BUILT_IN.len()] {
    let architecture = match instance_type.arch {
        Arch::X86 => "x86_64",
        Arch::Arm => "arm64",
    };
    [zone_name(region, zone), instance_type.name.to_owned(), "linux".to_owned(), architecture.to_owned()]
}

/// What an expression is asked of: one container instance.
pub trait Instance {
    /// The value of an attribute.
    fn attribute(&self, name: &str) -> Option<&str>;
    /// The EC2 instance id.
    fn instance_id(&self) -> Cow<'_, str>;
    /// When it registered.
    fn registered_at(&self) -> Timestamp;
    /// Tasks on it.
    fn running_tasks(&self) -> u64;
    /// Whether a task on it belongs to a group whose name passes the test.
    fn has_group(&self, test: &dyn Fn(&str) -> bool) -> bool;
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    root: Node,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Test(Subject, Test),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    AgentConnected,
    AgentVersion,
    Attribute(String),
    InstanceId,
    RegisteredAt,
    RunningTasks,
    Group,
}

#[derive(Clone, Debug)]
enum Test {
    Equals(String),
    NotEquals(String),
    Greater(String),
    GreaterEqual(String),
    Less(String),
    LessEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Matches(Regex),
    NotMatches(Regex),
    Exists,
    NotExists,
}

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {}: expected {expected}, found {found}", .at + 1)]
pub struct ExpressionError {
    /// Characters before the place.
    pub at: usize,
    /// What could have stood there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// The first place that is not of the language, with what was expected there.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        if text.chars().count() > MAX_LENGTH {
            return Err(parser.error_at(0, format!("at most {MAX_LENGTH} characters")));
        }
        let root = parser.or()?;
        parser.space();
        match parser.rest().is_empty() {
            true => Ok(Self { text: text.trim().to_owned(), root }),
            false => Err(parser.error("`and`, `or` or the end")),
        }
    }

    /// Whether it holds for an instance.
    #[must_use]
    pub fn holds(&self, instance: &impl Instance) -> bool {
        self.root.holds(instance)
    }

    /// Whether the answer for an instance can change while it runs: it asks for tasks.
    #[must_use]
    pub fn depends_on_tasks(&self) -> bool {
        self.root.any(&|s| matches!(s, Subject::RunningTasks | Subject::Group))
    }

    /// Whether instances with equal attributes can differ: it asks for id or time of registration.
    #[must_use]
    pub fn depends_on_instance(&self) -> bool {
        self.root.any(&|s| matches!(s, Subject::InstanceId | Subject::RegisteredAt))
    }

    /// A subject that simulated instances do not have.
    #[must_use]
    pub fn unmodelled(&self) -> Option<&'static str> {
        let asks = |subject: Subject| self.root.any(&|s| *s == subject);
        if asks(Subject::AgentConnected) {
            Some("agentConnected")
        } else if asks(Subject::AgentVersion) {
            Some("agentVersion")
        } else {
            None
        }
    }

    /// The attributes that it asks for, each once, in the order of their first mention.
    #[must_use]
    pub fn attributes(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.root.each(&mut |s| {
            if let Subject::Attribute(name) = s
                && !names.contains(&name.as_str())
            {
                names.push(name.as_str());
            }
        });
        names
    }
}

impl Node {
    fn holds(&self, instance: &impl Instance) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|p| p.holds(instance)),
            Self::Or(parts) => parts.iter().any(|p| p.holds(instance)),
            Self::Not(inner) => !inner.holds(instance),
            Self::Test(subject, test) => match subject {
                Subject::Attribute(name) => test.of(instance.attribute(name)),
                Subject::InstanceId => test.of(Some(&instance.instance_id())),
                Subject::RegisteredAt => test.of_time(instance.registered_at()),
                Subject::RunningTasks => test.of(Some(&instance.running_tasks().to_string())),
                Subject::Group => test.of_groups(instance),
                // Refused before a run: see `unmodelled`.
                Subject::AgentConnected | Subject::AgentVersion => false,
            },
        }
    }

    fn each<'a>(&'a self, visit: &mut impl FnMut(&'a Subject)) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|p| p.each(visit)),
            Self::Not(inner) => inner.each(visit),
            Self::Test(subject, _) => visit(subject),
        }
    }

    fn any(&self, test: &impl Fn(&Subject) -> bool) -> bool {
        let mut found = false;
        self.each(&mut |s| found |= test(s));
        found
    }
}

impl Test {
    fn of(&self, value: Option<&str>) -> bool {
        match self {
            Self::Equals(x) => value == Some(x),
            Self::NotEquals(x) => value != Some(x),
            Self::Greater(x) => value.is_some_and(|v| compare(v, x).is_gt()),
            Self::GreaterEqual(x) => value.is_some_and(|v| compare(v, x).is_ge()),
            Self::Less(x) => value.is_some_and(|v| compare(v, x).is_lt()),
            Self::LessEqual(x) => value.is_some_and(|v| compare(v, x).is_le()),
            Self::In(list) => value.is_some_and(|v| list.iter().any(|x| x == v)),
            Self::NotIn(list) => !value.is_some_and(|v| list.iter().any(|x| x == v)),
            Self::Matches(pattern) => value.is_some_and(|v| pattern.is_match(v)),
            Self::NotMatches(pattern) => !value.is_some_and(|v| pattern.is_match(v)),
            Self::Exists => value.is_some(),
            Self::NotExists => value.is_none(),
        }
    }

    fn of_time(&self, at: Timestamp) -> bool {
        let with = |x: &str| instant(x).map(|t| at.cmp(&t));
        match self {
            Self::Equals(x) => with(x).is_some_and(Ordering::is_eq),
            Self::NotEquals(x) => with(x).is_some_and(Ordering::is_ne),
            Self::Greater(x) => with(x).is_some_and(Ordering::is_gt),
            Self::GreaterEqual(x) => with(x).is_some_and(Ordering::is_ge),
            Self::Less(x) => with(x).is_some_and(Ordering::is_lt),
            Self::LessEqual(x) => with(x).is_some_and(Ordering::is_le),
            // The parser lets no other operator through.
            _ => false,
        }
    }

    fn of_groups(&self, instance: &impl Instance) -> bool {
        match self {
            Self::NotEquals(x) => !instance.has_group(&|g| g == x),
            Self::NotIn(list) => !instance.has_group(&|g| list.iter().any(|x| x == g)),
            Self::NotMatches(pattern) => !instance.has_group(&|g| pattern.is_match(g)),
            Self::NotExists => !instance.has_group(&|_| true),
            _ => instance.has_group(&|g| self.of(Some(g))),
        }
    }
}

/// Numbers by value, anything else by the numbers between its dots.
fn compare(a: &str, b: &str) -> Ordering {
    if let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) {
        return a.total_cmp(&b);
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => {
                let (a, b) = (a.unwrap_or("0"), b.unwrap_or("0"));
                match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    _ => a.cmp(b),
                }
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// An instant as the language writes it; without a zone it is UTC.
fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let civil = text.parse::<DateTime>().ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
}

/// Operators by their two spellings; longer symbols first.
const OPERATORS: [(&str, &str); 12] = [
    ("==", "equals"),
    ("!=", "not_equals"),
    (">=", "greater_than_equal"),
    ("<=", "less_than_equal"),
    (">", "greater_than"),
    ("<", "less_than"),
    ("=~", "matches"),
    ("!~", "not_matches"),
    ("!exists", "not_exists"),
    ("exists", "exists"),
    ("!in", "not_in"),
    ("in", "in"),
];

const SUBJECTS: &str =
    "a subject (`attribute:NAME`, `ec2InstanceId`, `registeredAt`, `runningTasksCount` or `task:group`)";

/// Deepest nesting of parentheses.
const MAX_DEPTH: u32 = 64;

struct Parser<'a> {
    text: &'a str,
    /// Bytes read.
    at: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn error(&self, expected: impl Into<String>) -> ExpressionError {
        self.error_at(self.at, expected)
    }

    fn error_at(&self, at: usize, expected: impl Into<String>) -> ExpressionError {
        let rest = self.text[at..].trim_start();
        let word: String = rest.chars().take_while(|c| !c.is_whitespace()).take(24).collect();
        let found = if word.is_empty() { "the end".to_owned() } else { format!("`{word}`") };
        ExpressionError { at: self.text[..at].chars().count(), expected: expected.into(), found }
    }

    /// Takes a symbol.
    fn symbol(&mut self, symbol: &str) -> bool {
        self.space();
        let there = self.rest().starts_with(symbol);
        self.at += if there { symbol.len() } else { 0 };
        there
    }

    /// Takes a word that ends where it ends.
    fn keyword(&mut self, word: &str) -> bool {
        self.space();
        let there = self.rest().strip_prefix(word).is_some_and(|r| !r.starts_with(is_subject));
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn or(&mut self) -> Result<Node, ExpressionError> {
        let mut parts = vec![self.and()?];
        while self.symbol("||") || self.keyword("or") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::Or(parts) })
    }

    fn and(&mut self) -> Result<Node, ExpressionError> {
        let mut parts = vec![self.unary()?];
        while self.symbol("&&") || self.keyword("and") {
            parts.push(self.unary()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::And(parts) })
    }

    fn unary(&mut self) -> Result<Node, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("at most {MAX_DEPTH} levels")));
        }
        let node = if self.symbol("!") || self.keyword("not") {
            Node::Not(Box::new(self.unary()?))
        } else if self.symbol("(") {
            let inner = self.or()?;
            if !self.symbol(")") {
                return Err(self.error("`)`, `and` or `or`"));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Node, ExpressionError> {
        self.space();
        let start = self.at;
        let word: &str = &self.rest()[..self.rest().find(|c| !is_subject(c)).unwrap_or(self.rest().len())];
        let subject = match word {
            "agentConnected" => Subject::AgentConnected,
            "agentVersion" => Subject::AgentVersion,
            "ec2InstanceId" => Subject::InstanceId,
            "registeredAt" => Subject::RegisteredAt,
            "runningTasksCount" => Subject::RunningTasks,
            "task:group" => Subject::Group,
            _ => match word.strip_prefix("attribute:") {
                Some("") => return Err(self.error_at(start + word.len(), "the name of an attribute")),
                Some(name) => Subject::Attribute(name.to_owned()),
                None => return Err(self.error(SUBJECTS)),
            },
        };
        self.at += word.len();
        self.space();
        let before = self.at;
        let Some(operator) = OPERATORS.iter().position(|(symbol, word)| {
            let is_word = symbol.ends_with(char::is_alphabetic);
            (if is_word { self.keyword(symbol) } else { self.symbol(symbol) }) || self.keyword(word)
        }) else {
            return Err(self.error("an operator (==, !=, >, >=, <, <=, =~, !~, in, not_in, exists or not_exists)"));
        };
        if !allowed(&subject).contains(&operator) {
            let list: Vec<&str> = allowed(&subject).iter().map(|i| OPERATORS[*i].0).collect();
            return Err(self.error_at(before, format!("one of the operators of `{word}` ({})", list.join(", "))));
        }
        let argument_at = self.at;
        let test = match operator {
            0 => Test::Equals(self.value()?),
            1 => Test::NotEquals(self.value()?),
            2 => Test::GreaterEqual(self.value()?),
            3 => Test::LessEqual(self.value()?),
            4 => Test::Greater(self.value()?),
            5 => Test::Less(self.value()?),
            6 => Test::Matches(self.pattern()?),
            7 => Test::NotMatches(self.pattern()?),
            8 => Test::NotExists,
            9 => Test::Exists,
            10 => Test::NotIn(self.list()?),
            _ => Test::In(self.list()?),
        };
        self.check(&subject, &test, argument_at)?;
        Ok(Node::Test(subject, test))
    }

    /// The argument must be of the subject's kind.
    fn check(&self, subject: &Subject, test: &Test, at: usize) -> Result<(), ExpressionError> {
        let (Test::Equals(x)
        | Test::NotEquals(x)
        | Test::Greater(x)
        | Test::GreaterEqual(x)
        | Test::Less(x)
        | Test::LessEqual(x)) = test
        else {
            return Ok(());
        };
        match subject {
            Subject::RunningTasks if x.parse::<u64>().is_err() => Err(self.error_at(at, "a number of tasks")),
            Subject::RegisteredAt if instant(x).is_none() => {
                Err(self.error_at(at, "an instant such as 2026-01-05 or 2026-01-05T08:00:00Z"))
            }
            _ => Ok(()),
        }
    }

    /// A literal: in quotes, or up to a space, a comma, a bracket or an operator.
    fn value(&mut self) -> Result<String, ExpressionError> {
        self.space();
        if let Some(quoted) = self.quoted()? {
            return Ok(quoted);
        }
        let rest = self.rest();
        let ends = |(i, c): (usize, char)| {
            c.is_whitespace() || "()[],".contains(c) || rest[i..].starts_with("&&") || rest[i..].starts_with("||")
        };
        let end = rest.char_indices().find(|x| ends(*x)).map_or(rest.len(), |(i, _)| i);
        if end == 0 {
            return Err(self.error("a value"));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn quoted(&mut self) -> Result<Option<String>, ExpressionError> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else { return Ok(None) };
        match rest[1..].find(quote) {
            Some(end) => {
                self.at += end + 2;
                Ok(Some(rest[1..=end].to_owned()))
            }
            None => Err(self.error_at(self.text.len(), format!("a closing {quote}"))),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, ExpressionError> {
        if !self.symbol("[") {
            return Err(self.error("a list such as [a, b]"));
        }
        let mut values = vec![self.value()?];
        while self.symbol(",") {
            values.push(self.value()?);
        }
        if !self.symbol("]") {
            return Err(self.error("`,` or `]`"));
        }
        Ok(values)
    }

    /// A pattern: in quotes, or up to a space or a parenthesis that it has not opened itself.
    fn pattern(&mut self) -> Result<Regex, ExpressionError> {
        self.space();
        let start = self.at;
        let text = match self.quoted()? {
            Some(quoted) => quoted,
            None => {
                let rest = self.rest();
                let mut open = 0_u32;
                let end = rest.find(|c: char| {
                    open += u32::from(c == '(');
                    let closes = c == ')' && open == 0;
                    open = open.saturating_sub(u32::from(c == ')'));
                    c.is_whitespace() || closes
                });
                let end = end.unwrap_or(rest.len());
                self.at += end;
                rest[..end].to_owned()
            }
        };
        if text.is_empty() {
            return Err(self.error_at(start, "a pattern"));
        }
        Regex::new(&format!("^(?:{text})$"))
            .map_err(|e| self.error_at(start, format!("a regular expression ({})", e.to_string().replace('\n', " "))))
    }
}

/// Positions in [`OPERATORS`] that a subject takes.
fn allowed(subject: &Subject) -> &'static [usize] {
    match subject {
        Subject::Attribute(_) | Subject::Group => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        Subject::AgentConnected | Subject::InstanceId => &[0, 1, 6, 7, 10, 11],
        Subject::AgentVersion | Subject::RegisteredAt | Subject::RunningTasks => &[0, 1, 2, 3, 4, 5],
    }
}

/// A character of a subject.
fn is_subject(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Box1;

    impl Instance for Box1 {
        fn attribute(&self, name: &str) -> Option<&str> {
            match name {
                "ecs.instance-type" => Some("g2.2xlarge"),
                "ecs.availability-zone" => Some("us-east-1a"),
                "rack" => Some("12"),
                "stack" => Some("prod"),
                _ => None,
            }
        }
        fn instance_id(&self) -> Cow<'_, str> {
            "i-abcd1234".into()
        }
        fn registered_at(&self) -> Timestamp {
            "2018-02-12T10:00:00Z".parse().unwrap()
        }
        fn running_tasks(&self) -> u64 {
            2
        }
        fn has_group(&self, test: &dyn Fn(&str) -> bool) -> bool {
            ["service:web", "family:job"].into_iter().any(test)
        }
    }

    #[test]
    fn examples_of_the_guide_and_their_like() {
        for (text, holds) in [
            ("attribute:ecs.instance-type == t2.small", false),
            ("attribute:ecs.instance-type =~ g2.*", true),
            ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", true),
            ("attribute:ecs.availability-zone !in [us-east-1a]", false),
            ("attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d", true),
            ("task:group == service:web", true),
            ("not(task:group == service:web)", false),
            ("!(task:group equals database)", true),
            ("task:group != service:web", false),
            ("task:group =~ service:.*", true),
            ("runningTasksCount == 2", true),
            ("runningTasksCount<2", false),
            ("registeredAt < 2018-02-13", true),
            ("registeredAt >= 2018-02-12T10:00:00+00:00", true),
            ("ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']", true),
            ("attribute:rack > 9", true),
            ("attribute:rack greater_than_equal 13", false),
            ("attribute:gpu exists", false),
            ("attribute:gpu !exists", true),
            ("attribute:gpu not_exists&&attribute:stack==prod", true),
            ("attribute:gpu != a", true),
            ("attribute:stack == test or attribute:stack == prod and attribute:rack == 12", true),
            ("(attribute:stack == test or attribute:stack == prod) and attribute:rack == 13", false),
            ("(attribute:ecs.instance-type =~ (g2|p3)[.](2xlarge|large))", true),
            ("attribute:ecs.instance-type !~ g2", true),
            ("attribute:stack == 'prod'", true),
        ] {
            let expression = Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(expression.holds(&Box1), holds, "{text}");
        }
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(compare("1.14.5", "1.9.0").is_gt());
        assert!(compare("1.14", "1.14.0").is_eq());
        assert!(compare("0.5", "0.45").is_gt());
    }

    #[test]
    fn what_is_wrong_and_where() {
        for (text, at, part) in [
            ("", 0, "a subject"),
            ("attribute: == x", 10, "name of an attribute"),
            ("atribute:rack == x", 0, "found `atribute:rack`"),
            ("attribute:rack = x", 15, "an operator"),
            ("attribute:rack ==", 17, "a value, found the end"),
            ("attribute:rack == a b", 20, "`and`, `or` or the end, found `b`"),
            ("(attribute:rack == a", 20, "`)`"),
            ("attribute:rack in a", 18, "a list"),
            ("attribute:rack in [a b]", 21, "`,` or `]`"),
            ("attribute:rack =~ [", 18, "a regular expression"),
            ("runningTasksCount == many", 20, "a number of tasks"),
            ("runningTasksCount exists", 18, "one of the operators of `runningTasksCount`"),
            ("registeredAt < soon", 14, "an instant"),
            ("attribute:a == 'x", 17, "a closing '"),
        ] {
            let error = Expression::parse(text).map(|e| e.to_string()).expect_err(text);
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        assert!(Expression::parse(&"(".repeat(1000)).is_err());
        assert!(Expression::parse(&"x".repeat(2001)).is_err());
    }

    #[test]
    fn what_it_asks_for() {
        let parse = |t| Expression::parse(t).unwrap();
        assert!(parse("not(task:group == a)").depends_on_tasks());
        assert!(!parse("attribute:rack == a").depends_on_tasks());
        assert_eq!(parse("agentVersion < 1.2").unmodelled(), Some("agentVersion"));
        assert_eq!(parse("attribute:a == 1 or attribute:b == 2 or attribute:a == 3").attributes(), ["a", "b"]);
    }
}
