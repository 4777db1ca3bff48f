//! StableHLO's text, shortened for people.

/// The text with `dense_resource<__elided__>`, MLIR's own notation, for each constant that MLIR
/// prints as hexadecimal digits.
pub fn without_large_constants(text: &str) -> String {
    let mut short = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("dense<\"0x") {
        let Some((_, behind)) = behind.split_once("\">") else { break };
        short.push_str(before);
        short.push_str("dense_resource<__elided__>");
        rest = behind;
    }
    short + rest
}

/// The text without `loc(..)` and the lines that define locations.
pub fn without_locations(text: &str) -> String {
    let mut short = String::new();
    for line in text.lines().filter(|line| !line.starts_with("#loc")) {
        let mut rest = line;
        while let Some(start) = rest.find(" loc(") {
            let Some(length) = parenthesized(&rest[start..]) else { break };
            short.push_str(&rest[..start]);
            rest = &rest[start + length..];
        }
        short.push_str(rest);
        short.push('\n');
    }
    short
}

/// The number of bytes up to the end of the first parentheses. Those in strings do not count.
fn parenthesized(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (i, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => (),
            '(' => depth += 1,
            ')' if depth == 1 => return Some(i + 1),
            ')' => depth -= 1,
            _ => (),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_constants_are_elided() {
        let text = "%0 = dense<\"0x00AB\"> : a\n%1 = dense<[1, 2]> : b\n%2 = dense<\"0x\"> : c";
        let short = "%0 = dense_resource<__elided__> : a\n%1 = dense<[1, 2]> : b\n\
                     %2 = dense_resource<__elided__> : c";
        assert_eq!(without_large_constants(text), short);
        assert_eq!(without_large_constants("dense<\"0x00"), "dense<\"0x00");
    }

    #[test]
    fn locations_are_left_out() {
        let text = "#loc1 = loc(\"x\")\n\
                    f(%a: t loc(\"a\"), %b: t loc(\"(\\\")\"(#loc1))) {\n\
                    return loc(#loc)\n\
                    } loc(unknown)\n\
                    s = \"a loc(\"\n";
        assert_eq!(without_locations(text), "f(%a: t, %b: t) {\nreturn\n}\ns = \"a loc(\"\n");
    }
}
