"""Make data/sample: invented ratings with a structure that can be seen, the same bytes every time.

    python data/make_sample.py [FOLDER]

What is planted:
- 120 films in 4 genres: items 1-30 Action, 31-60 Comedy, 61-90 Drama, 91-120 Sci-Fi.
- 150 users. The favourite genre of user u is GENRES[u % 4]: user 42 likes Drama (42 % 4 = 2).
- About 2 of 3 ratings of a user go to the favourite genre, mostly 4 or 5; the rest mostly 1 to 3.
- Inside a genre a film's chance falls with its number: "Drama 01" is popular, "Drama 30" is not.
- Users 1-110 are active all year; users 111-150 join one after another, the last ones in December,
  so a temporal split has warm test users and cold ones. The last two films of a genre open in October.
"""

import csv
import random
import sys
from pathlib import Path

GENRES = ("Action", "Comedy", "Drama", "Sci-Fi")
FILMS_PER_GENRE = 30
USERS, REGULARS = 150, 110
START, YEAR = 1_672_531_200, 365 * 86_400  # 2023-01-01 UTC, seconds
OPENING = START + 3 * YEAR // 4
SEED = 42


def favourite(user: int) -> int:
    """Index of the user's favourite genre."""
    return user % len(GENRES)


def films() -> list[tuple[int, str, str]]:
    """Item, title, genre."""
    rows = []
    for genre, name in enumerate(GENRES):
        for number in range(1, FILMS_PER_GENRE + 1):
            year = 1980 + (number * 7 + genre * 5) % 43
            rows.append((genre * FILMS_PER_GENRE + number, f"{name} {number:02d} ({year})", name))
    return rows


def ratings() -> list[tuple[int, int, int, int]]:
    """User, item, rating, timestamp: by user, then by time."""
    # Only random() itself is promised to stay the same in every version of Python.
    rng = random.Random(SEED)
    rows = []
    for user in range(1, USERS + 1):
        joined = START if user <= REGULARS else START + YEAR * (user - REGULARS) // (USERS - REGULARS + 1)
        active = (START + YEAR - joined) / YEAR
        wanted = max(6, int((26 + 20 * rng.random()) * (0.3 + 0.7 * active)))
        times = sorted(joined + int(rng.random() * (START + YEAR - joined)) for _ in range(wanted))
        seen: set[int] = set()
        for time in times:
            item = _choose(rng, favourite(user), seen, time)
            seen.add(item)
            rows.append((user, item, _rate(rng, item, user), time))
    return rows


def _choose(rng: random.Random, liked: int, seen: set[int], time: int) -> int:
    """A film the user has not rated yet."""
    while True:
        genre = liked if rng.random() < 0.64 else int(rng.random() * len(GENRES))
        # The smaller of two draws favours small numbers: the popular films.
        draw = min(rng.random(), rng.random()) if rng.random() < 0.7 else rng.random()
        number = 1 + int(draw * FILMS_PER_GENRE)
        item = genre * FILMS_PER_GENRE + number
        is_open = number <= FILMS_PER_GENRE - 2 or time >= OPENING
        if item not in seen and is_open:
            return item


def _rate(rng: random.Random, item: int, user: int) -> int:
    draw = rng.random()
    if (item - 1) // FILMS_PER_GENRE == favourite(user):
        return 5 if draw < 0.5 else 4 if draw < 0.9 else 3
    return 1 if draw < 0.3 else 2 if draw < 0.65 else 3 if draw < 0.9 else 4


def write(folder: Path) -> None:
    """Write ratings.csv and movies.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = (
        ("ratings.csv", ("userId", "movieId", "rating", "timestamp"), ratings()),
        ("movies.csv", ("movieId", "title", "genres"), films()),
    )
    for name, header, rows in tables:
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "sample")
