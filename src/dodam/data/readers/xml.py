"""XML of documents from anywhere, read without entities: no file it names is opened, nothing in it can grow."""

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate

from dodam.errors import DataError


def parse(data: bytes, where: str) -> Element:
    """The root element; names are without their namespaces. DataError for what is no XML, or declares entities."""

    def refuse(*declared: object) -> None:
        raise DataError("declares XML entities, which no such document needs", where=where)

    builder = TreeBuilder()
    parser = ParserCreate(namespace_separator=" ")
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(
        _local(name), {_local(key): value for key, value in attributes.items()}
    )
    parser.EndElementHandler = lambda name: builder.end(_local(name))
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
        return builder.close()
    except ExpatError as error:
        raise DataError(f"is no XML, or torn ({error})", where=where) from None


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
