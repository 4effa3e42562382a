//! A condition's text as an expression.
//!
//! Weakest first: `or`, `and`, `not`, comparisons (one), `+ -`, `* /`. Keeps true: parentheses, `not` and signs are nested at most
//! [`DEEPEST`] deep.

use super::{
    Comparison, Context, Expression, FUNCTIONS, Literal, Operation,
    path::{Key, Path},
    word::{Word, words},
};
use crate::{TracesError, matching::pattern};

const DEEPEST: usize = 32;

/// Numbers that have names.
const NAMED: &[(&str, i64)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
];

pub(super) fn condition(place: &str, text: &str, context: Context) -> Result<Expression, TracesError> {
    let wrong = |why: String| TracesError::setting(place, format!("{why}, in: {text}"));
    let words = words(text).map_err(wrong)?;
    let mut reader = Reader { place, words, next: 0, context, depth: 0 };
    let read = reader.any().and_then(|found| match reader.peek() {
        Word::End => truth(found),
        _ => Err(reader.unexpected("the end, `and`, `or` or a comparison")),
    });
    read.map_err(|problem| match problem {
        Problem::Words(why) => wrong(why),
        Problem::Pattern(error) => error,
    })
}

enum Problem {
    Words(String),
    Pattern(TracesError),
}

impl From<String> for Problem {
    fn from(why: String) -> Self {
        Self::Words(why)
    }
}

struct Reader<'a> {
    place: &'a str,
    words: Vec<(usize, Word)>,
    next: usize,
    context: Context,
    depth: usize,
}

/// What can be true or false: a path or a number alone cannot, as in the Collector.
fn truth(found: Expression) -> Result<Expression, Problem> {
    match found {
        Expression::Literal(Literal::Truth(_))
        | Expression::Any(_)
        | Expression::All(_)
        | Expression::Not(_)
        | Expression::Compare(..)
        | Expression::Matches(..)
        | Expression::Call(..) => Ok(found),
        _ => Err("a value alone is neither true nor false: compare it, as in attributes[\"a\"] == true"
            .to_owned()
            .into()),
    }
}

impl Reader<'_> {
    fn peek(&self) -> &Word {
        self.words.get(self.next).map_or(&Word::End, |(_, word)| word)
    }

    fn take(&mut self) -> Word {
        let word = self.peek().clone();
        self.next += 1;
        word
    }

    fn takes(&mut self, wanted: &Word) -> bool {
        let there = self.peek() == wanted;
        self.next += usize::from(there);
        there
    }

    fn takes_sign(&mut self, sign: &'static str) -> bool {
        self.takes(&Word::Sign(sign))
    }

    fn takes_small(&mut self, word: &str) -> bool {
        let there = matches!(self.peek(), Word::Small(found) if found == word);
        self.next += usize::from(there);
        there
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        match self.words.get(self.next) {
            Some((_, Word::End)) | None => format!("it ends where {wanted} should be").into(),
            Some((at, _)) => format!("at character {at} should be {wanted}").into(),
        }
    }

    fn any(&mut self) -> Result<Expression, Problem> {
        self.joined("or", Self::all, Expression::Any)
    }

    fn all(&mut self) -> Result<Expression, Problem> {
        self.joined("and", Self::not, Expression::All)
    }

    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expression, Problem>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, Problem> {
        let first = part(self)?;
        if !matches!(self.peek(), Word::Small(found) if found == word) {
            return Ok(first);
        }
        let mut all = vec![truth(first)?];
        while self.takes_small(word) {
            let next = part(self)?;
            all.push(truth(next)?);
        }
        Ok(join(all))
    }

    fn not(&mut self) -> Result<Expression, Problem> {
        if self.takes_small("not") {
            let inner = self.deeper(Self::not)?;
            return Ok(Expression::Not(Box::new(truth(inner)?)));
        }
        self.comparison()
    }

    fn deeper(&mut self, part: fn(&mut Self) -> Result<Expression, Problem>) -> Result<Expression, Problem> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} deep").into());
        }
        let found = part(self);
        self.depth -= 1;
        found
    }

    fn comparison(&mut self) -> Result<Expression, Problem> {
        let left = self.sum()?;
        let Word::Sign(sign) = *self.peek() else { return Ok(left) };
        let comparison = match sign {
            "==" => Comparison::Same,
            "!=" => Comparison::Other,
            "<" => Comparison::Less,
            "<=" => Comparison::AtMost,
            ">" => Comparison::More,
            ">=" => Comparison::AtLeast,
            _ => return Ok(left),
        };
        self.next += 1;
        let right = self.sum()?;
        Ok(Expression::Compare(Box::new(left), comparison, Box::new(right)))
    }

    fn sum(&mut self) -> Result<Expression, Problem> {
        self.chain(&[("+", Operation::Plus), ("-", Operation::Minus)], Self::product)
    }

    fn product(&mut self) -> Result<Expression, Problem> {
        self.chain(&[("*", Operation::Times), ("/", Operation::By)], Self::value)
    }

    fn chain(
        &mut self,
        operations: &[(&'static str, Operation)],
        part: fn(&mut Self) -> Result<Expression, Problem>,
    ) -> Result<Expression, Problem> {
        let (mut left, mut links) = (part(self)?, 0);
        loop {
            let Word::Sign(sign) = *self.peek() else { return Ok(left) };
            let Some((_, operation)) = operations.iter().find(|(known, _)| *known == sign) else { return Ok(left) };
            self.next += 1;
            links += 1;
            // Each link is a level of the tree.
            if links > DEEPEST {
                return Err(format!("more than {DEEPEST} numbers are added or multiplied").into());
            }
            let right = part(self)?;
            left = Expression::Arithmetic(Box::new(left), *operation, Box::new(right));
        }
    }

    fn value(&mut self) -> Result<Expression, Problem> {
        let literal = |literal| Ok(Expression::Literal(literal));
        match self.peek().clone() {
            Word::Sign("(") => {
                self.next += 1;
                let inner = self.deeper(Self::any)?;
                if self.takes_sign(")") { Ok(inner) } else { Err(self.unexpected("`)`")) }
            }
            Word::Sign("-") => {
                self.next += 1;
                match self.take() {
                    Word::Int(number) => literal(Literal::Int(-number)),
                    Word::Float(number) => literal(Literal::Float(-number)),
                    _ => Err("a minus stands before a number, or between two values".to_owned().into()),
                }
            }
            Word::Int(number) => self.literal(Literal::Int(number)),
            Word::Float(number) => self.literal(Literal::Float(number)),
            Word::Text(text) => self.literal(Literal::Text(text)),
            Word::Bytes(bytes) => self.literal(Literal::Bytes(bytes)),
            Word::Small(word) if word == "true" || word == "false" => self.literal(Literal::Truth(word == "true")),
            Word::Small(word) if word == "nil" => self.literal(Literal::Nil),
            Word::Small(word) if ["and", "or", "not"].contains(&word.as_str()) => Err(self.unexpected("a value")),
            Word::Small(word) => self.path(word),
            Word::Capital(word) => self.named(&word),
            Word::Sign(_) | Word::End => Err(self.unexpected("a value")),
        }
    }

    fn literal(&mut self, literal: Literal) -> Result<Expression, Problem> {
        self.next += 1;
        Ok(Expression::Literal(literal))
    }

    fn path(&mut self, first: String) -> Result<Expression, Problem> {
        self.next += 1;
        let (mut name, mut keys) = (first, Vec::new());
        while self.takes_sign(".") {
            match self.take() {
                Word::Small(part) => name = format!("{name}.{part}"),
                _ => return Err(format!("a name should follow `{name}.`").into()),
            }
        }
        while self.takes_sign("[") {
            keys.push(match self.take() {
                Word::Text(key) => Key::Text(key),
                Word::Int(at) => {
                    Key::Number(usize::try_from(at).map_err(|_| "a place in a list is 0 or more".to_owned())?)
                }
                _ => return Err(format!("`{name}[` is followed by a text in double quotes, or a number").into()),
            });
            if !self.takes_sign("]") {
                return Err(self.unexpected("`]`"));
            }
        }
        Ok(Expression::Path(Path::new(&name, keys, self.context)?))
    }

    fn named(&mut self, name: &str) -> Result<Expression, Problem> {
        self.next += 1;
        if !self.takes_sign("(") {
            return match NAMED.iter().find(|(known, _)| *known == name) {
                Some((_, number)) => Ok(Expression::Literal(Literal::Int(*number))),
                None => Err(format!("`{name}` is no number that has a name, as STATUS_CODE_ERROR is").into()),
            };
        }
        let Some((name, wanted)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            let all: Vec<&str> = FUNCTIONS.iter().map(|(known, _)| *known).collect();
            return Err(format!("the function `{name}` is not in this version; there are {}", all.join(", ")).into());
        };
        let mut arguments = Vec::new();
        while !self.takes_sign(")") {
            if !arguments.is_empty() && !self.takes_sign(",") {
                return Err(self.unexpected("`,` or `)`"));
            }
            arguments.push(self.deeper(Self::sum)?);
        }
        if arguments.len() != *wanted {
            return Err(format!("`{name}` takes {wanted} arguments and gets {}", arguments.len()).into());
        }
        if *name != "IsMatch" {
            return Ok(Expression::Call(name, arguments));
        }
        match (arguments.pop(), arguments.pop()) {
            (Some(Expression::Literal(Literal::Text(text))), Some(of)) => {
                let key = format!("{}: IsMatch", self.place);
                Ok(Expression::Matches(Box::new(of), pattern(&key, &text).map_err(Problem::Pattern)?))
            }
            _ => Err("the pattern of `IsMatch` is a text in double quotes".to_owned().into()),
        }
    }
}
