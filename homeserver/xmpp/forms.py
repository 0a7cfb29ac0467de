"""Data forms: https://xmpp.org/extensions/xep-0004.html, with their type: https://xmpp.org/extensions/xep-0068.html."""

from federation.core.xmpp.element import Element

FORMS = "jabber:x:data"


def begun(type_: str, kind: str, title: str | None = None) -> Element:
    """Return a form, such as a "result", that says what kind it is of, and has no other field yet."""
    form = Element("x", FORMS, {"type": type_})
    if title is not None:
        form.add(Element("title", FORMS, None, title))
    hidden = {"var": "FORM_TYPE", "type": "hidden"}
    return form.add(Element("field", FORMS, hidden, Element("value", FORMS, None, kind)))


def values_of(form: Element | None) -> dict[str, list[str]]:
    """Return the values of each field of a form; of no form, none."""
    fields = form.find_all("field") if form is not None else ()
    return {field.get("var") or "": [value.text for value in field.find_all("value")] for field in fields}
