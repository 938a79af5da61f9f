//! Certificates that a person can look at, and tell from a real one at once.
//!
//! Drawn, not shipped: coloured bands, a frame, large letters from a font of five by seven dots, and a grain over it all that
//! gives the JPEG its size. The same arguments give the same bytes.

use jpeg_encoder::{ColorType, Encoder};

/// Draws a specimen with these lines of text; more grain makes a larger JPEG.
pub fn specimen(lines: &[String], grain: u32) -> Vec<u8> {
    let mut canvas = Canvas::new();
    canvas.bands();
    canvas.frame();
    for (at, line) in lines.iter().enumerate() {
        let dots = if at == 0 { 9 } else { 5 };
        canvas.write(line, 90, 120 + at * 130, dots);
    }
    canvas.encode(grain)
}

struct Canvas(Vec<u8>);

impl Canvas {
    fn new() -> Self {
        Self(vec![0; WIDTH * HEIGHT * 3])
    }

    fn dot(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < WIDTH && y < HEIGHT {
            let at = (y * WIDTH + x) * 3;
            self.0[at..at + 3].copy_from_slice(&colour);
        }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: [u8; 3]) {
        for y in y..y + height {
            for x in x..x + width {
                self.dot(x, y, colour);
            }
        }
    }

    fn bands(&mut self) {
        for y in 0..HEIGHT {
            let shade = 226 + ((y / 48) % 2) * 10;
            self.fill(0, y, WIDTH, 1, [shade as u8, shade as u8, 232]);
        }
    }

    fn frame(&mut self) {
        for (inset, thick, colour) in [(24, 14, [28, 74, 110]), (48, 4, [176, 138, 60])] {
            self.fill(inset, inset, WIDTH - 2 * inset, thick, colour);
            self.fill(inset, HEIGHT - inset - thick, WIDTH - 2 * inset, thick, colour);
            self.fill(inset, inset, thick, HEIGHT - 2 * inset, colour);
            self.fill(WIDTH - inset - thick, inset, thick, HEIGHT - 2 * inset, colour);
        }
    }

    fn write(&mut self, text: &str, left: usize, top: usize, dots: usize) {
        for (at, letter) in text.chars().enumerate() {
            let rows = glyph(letter);
            for (y, row) in rows.iter().enumerate() {
                for x in (0..5).filter(|x| row & (0b10000 >> x) != 0) {
                    self.fill(left + (at * 6 + x) * dots, top + y * dots, dots, dots, [24, 44, 66]);
                }
            }
        }
    }

    fn encode(&self, grain: u32) -> Vec<u8> {
        let mut state = 0x2545_f491u32;
        let grained: Vec<u8> = self
            .0
            .iter()
            .map(|value| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                let shift = (state % (2 * grain + 1)) as i32 - grain as i32;
                (i32::from(*value) + shift).clamp(0, 255) as u8
            })
            .collect();
        let mut jpeg = Vec::new();
        let encoder = Encoder::new(&mut jpeg, QUALITY);
        encoder.encode(&grained, WIDTH as u16, HEIGHT as u16, ColorType::Rgb).expect("a Vec takes everything");
        jpeg
    }
}

/// Seven rows of five dots.
fn glyph(letter: char) -> [u8; 7] {
    match letter {
        'A' => [14, 17, 17, 31, 17, 17, 17],
        'B' => [30, 17, 17, 30, 17, 17, 30],
        'C' => [14, 17, 16, 16, 16, 17, 14],
        'D' => [30, 17, 17, 17, 17, 17, 30],
        'E' => [31, 16, 16, 30, 16, 16, 31],
        'F' => [31, 16, 16, 30, 16, 16, 16],
        'G' => [14, 17, 16, 23, 17, 17, 15],
        'H' => [17, 17, 17, 31, 17, 17, 17],
        'I' => [14, 4, 4, 4, 4, 4, 14],
        'J' => [7, 2, 2, 2, 2, 18, 12],
        'K' => [17, 18, 20, 24, 20, 18, 17],
        'L' => [16, 16, 16, 16, 16, 16, 31],
        'M' => [17, 27, 21, 21, 17, 17, 17],
        'N' => [17, 25, 21, 19, 17, 17, 17],
        'O' => [14, 17, 17, 17, 17, 17, 14],
        'P' => [30, 17, 17, 30, 16, 16, 16],
        'Q' => [14, 17, 17, 17, 21, 18, 13],
        'R' => [30, 17, 17, 30, 20, 18, 17],
        'S' => [15, 16, 16, 14, 1, 1, 30],
        'T' => [31, 4, 4, 4, 4, 4, 4],
        'U' => [17, 17, 17, 17, 17, 17, 14],
        'V' => [17, 17, 17, 17, 17, 10, 4],
        'W' => [17, 17, 17, 21, 21, 27, 17],
        'X' => [17, 17, 10, 4, 10, 17, 17],
        'Y' => [17, 17, 10, 4, 4, 4, 4],
        'Z' => [31, 1, 2, 4, 8, 16, 31],
        '0' => [14, 17, 19, 21, 25, 17, 14],
        '1' => [4, 12, 4, 4, 4, 4, 14],
        '2' => [14, 17, 1, 6, 8, 16, 31],
        '3' => [30, 1, 1, 14, 1, 1, 30],
        '4' => [2, 6, 10, 18, 31, 2, 2],
        '5' => [31, 16, 30, 1, 1, 17, 14],
        '6' => [14, 16, 16, 30, 17, 17, 14],
        '7' => [31, 1, 2, 4, 8, 8, 8],
        '8' => [14, 17, 17, 14, 17, 17, 14],
        '9' => [14, 17, 17, 15, 1, 1, 14],
        '-' => [0, 0, 0, 14, 0, 0, 0],
        _ => [0; 7],
    }
}

const WIDTH: usize = 1240;
const HEIGHT: usize = 877;
const QUALITY: u8 = 92;
