"""Pascal VOC's XML, a file an image. Boxes count pixels from 1, and their ends lie inside."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.data.annotations import Shape
from benchmarks.formats.entries import Entry, Reading, number_in, text_of
from benchmarks.formats.image_files import ImageFiles, composed, files_below
from benchmarks.formats.labelled import LabelledObject
from benchmarks.run.errors import UserError
from benchmarks.run.text_tables import counted

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def recognises(source: Path, images: Path | None) -> bool:
    """Whether it is a file of XML, a folder with some, a folder of VOC, or a list of VOC's ``ImageSets``."""
    if source.is_dir():
        folder = _folder(source)
        if folder is None or folder.name == "Annotations":
            return folder is not None
        return any(path.parent == folder for path in _below(folder))  # whose it is further below, nobody knows
    return source.suffix.lower() == ".xml" or _listed_in(source) is not None


def read(source: Path, images: Path | None) -> Reading:
    """Read the files of a folder, one of them, or those that a list of ``ImageSets/Main`` names.

    Args:
        source: Folder, file, or list (``VOC2007/ImageSets/Main/test.txt``).
        images: Folder of the images; else ``JPEGImages`` beside the annotations, ``images`` in or beside, or their own.

    Raises:
        UserError: There is no file of XML.
    """
    reading = Reading()
    folder, paths = _paths(source, reading)
    if not paths:
        if reading.faults:
            return reading
        raise UserError(f"{source} holds no XML file, as VOC's annotations are.")
    usual = [folder.parent / "JPEGImages", folder / "images", folder.parent / "images", folder]
    files = ImageFiles(images, usual)
    from_zero: list[str] = []
    of_others: list[str] = []
    for path in paths:
        with reading.at(str(path)):
            inside = path.parent.relative_to(folder).as_posix()
            reading.entries.append(_entry(path, inside, files, reading, from_zero))
            _look_for_own(path, inside, files, reading.entries[-1].path, of_others)
    if from_zero:
        begin = "box begins" if len(from_zero) == 1 else "boxes begin"
        reading.remarks.append(
            f"{len(from_zero)} {begin} at 0, but VOC counts from 1, such as in {from_zero[0]}: if the whole set "
            "counts from 0, its boxes are read one pixel too far left and up."
        )
    if of_others:
        reading.remarks.append(
            f"{counted(len(of_others), 'file')} of another image than the one of the same name, such as "
            f"{of_others[0]}: <filename> counts, so correct it where files were renamed."
        )
    return reading.in_alphabet()


def _folder(source: Path) -> Path | None:
    return next((f for f in (source / "Annotations", source) if f.is_dir() and _below(f)), None)


def _below(folder: Path) -> list[Path]:
    return list(files_below(folder, (".xml",)))


def _listed_in(source: Path) -> Path | None:
    """The folder whose annotations a list is of."""
    if source.suffix.lower() != ".txt" or len(source.parents) < 3:
        return None
    folder = source.parents[2] / "Annotations"
    return folder if source.parents[1].name == "ImageSets" and folder.is_dir() else None


def _paths(source: Path, reading: Reading) -> tuple[Path, list[Path]]:
    """The folder of the annotations, and those that are read."""
    if source.is_dir():
        folder = _folder(source)
        return (source, []) if folder is None else (folder, _below(folder))
    listed = _listed_in(source)
    if listed is None:
        return source.parent, [source]
    names = [words[0] for line in text_of(source).splitlines() if (words := line.split())]
    found = {composed(path.relative_to(listed).with_suffix("").as_posix()): path for path in _below(listed)}
    reading.faults += [f"{source}: {listed / name}.xml is missing." for name in names if composed(name) not in found]
    return listed, [found[composed(name)] for name in names if composed(name) in found]


def _entry(path: Path, inside: str, files: ImageFiles, reading: Reading, from_zero: list[str]) -> Entry:
    """The entry of a file that lies in a folder inside that of the annotations."""
    root = _parsed(path)
    name = _text(root, "filename") or path.stem
    image = files.find(name, inside)
    if image.parent.as_posix().endswith(f"/{inside}") and not name.startswith(f"{inside}/"):
        name = f"{inside}/{name}"  # others may bear its own
    entry = Entry(str(path), name, image, size=_size(root))
    objects = root.findall("object")
    known = sum(len(element.findall(box)) for element in objects for box in ("bndbox", "part/bndbox"))
    if (boxes := sum(1 for _ in root.iter("bndbox"))) > known:
        raise ValueError(
            f"{boxes - known} of its {boxes} boxes are of no <object> right below <annotation>: put them there"
        )
    for number, element in enumerate(objects, start=1):
        where = f"{path}, object {number}"
        with reading.at(where):
            entry.objects.append((where, _object(element)))
            x1, y1, _, _ = entry.objects[-1][1].box
            if min(x1, y1) == -1:
                from_zero.append(where)
    return entry


def _look_for_own(path: Path, inside: str, files: ImageFiles, image: Path, of_others: list[str]) -> None:
    """Remember a file whose name is that of another image than it is about."""
    with suppress(ValueError):  # there is no such image
        if image.stem != path.stem and files.find(path.stem, inside) != image:
            of_others.append(f"{path} of {image.name}")


def _parsed(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
        root = None if b"<!ENTITY" in content else ElementTree.fromstring(content)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"it is not readable as XML ({error}): export it again") from None
    except ValueError as error:  # an encoding that Python's parser has not
        raise ValueError(f"it is not readable as XML ({error}): save it in UTF-8") from None
    if root is None:  # which can make gigabytes of a line
        raise ValueError("it defines entities, which no annotation does")
    if root.tag != "annotation":
        raise ValueError(f"it holds <{root.tag}> where VOC has <annotation>")
    return root


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    size = _only(root, "size")
    if size is None:
        return None
    width, height = (_number(size, side) for side in ("width", "height"))
    if width == height == 0:  # as some programs write that they do not know
        return None
    if min(width, height) < 1 or not (width.is_integer() and height.is_integer()):
        raise ValueError(f"its <size> is {width:g} x {height:g} pixels")
    return int(width), int(height)


def _object(element: ElementTree.Element) -> LabelledObject:
    name = _text(element, "name")
    if not name:
        raise ValueError("it has no <name>")
    difficult = _text(element, "difficult") or "0"
    if difficult not in ("0", "1"):
        raise ValueError(f"its <difficult> is {difficult!r} where 0 or 1 is expected")
    box = _only(element, "bndbox")
    if box is None:
        raise ValueError("it has no <bndbox>")
    x1, y1, x2, y2 = (_number(box, side) for side in _SIDES)
    if x2 < x1 or y2 < y1:
        raise ValueError(f"its box ends before it begins: xmin {x1:g}, ymin {y1:g}, xmax {x2:g}, ymax {y2:g}")
    return LabelledObject(name, (Shape("rectangle", ((x1 - 1, y1 - 1), (x2, y2))),), difficult=difficult == "1")


def _number(parent: ElementTree.Element, name: str) -> float:
    return number_in(_text(parent, name), f"<{name}>")


def _text(parent: ElementTree.Element, name: str) -> str:
    found = _only(parent, name)
    return "" if found is None else (found.text or "").strip()


def _only(parent: ElementTree.Element, name: str) -> ElementTree.Element | None:
    """The part of a name, of which there may be one: the first of several would leave out the others unseen."""
    found = parent.findall(name)
    if len(found) > 1:
        raise ValueError(f"it has {len(found)} <{name}> where there is one: keep one")
    return found[0] if found else None
