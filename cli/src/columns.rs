//! Tables of text in the terminal.

/// Where the cells of a column stand.
#[derive(Clone, Copy)]
pub enum Align {
    Left,
    Right,
}

/// The rows as lines, each column as wide as its widest cell, with `gap` spaces between columns. A
/// row of empty cells is an empty line.
pub fn table<const N: usize>(rows: &[[String; N]], align: [Align; N], gap: usize) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(align).map(|((cell, width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["a", "1", "× 2"], ["", "", ""], ["long", "1,000", ""]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let text = table(&rows, [Align::Left, Align::Right, Align::Left], 2);
        assert_eq!(text, "a         1  × 2\n\nlong  1,000\n");
    }
}
