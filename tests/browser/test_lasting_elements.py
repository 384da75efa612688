"""Elements that a page replaces between finding and reading them are found again."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

LIST = "<ul id=list><li>{}<li>{}</ul>"


def write(browser: webdriver.Chrome, first: int, second: int) -> None:
    browser.execute_script("document.body.innerHTML = arguments[0]", LIST.format(first, second))


def test_what_the_page_replaced_is_found_again(browser: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.get("about:blank")
    write(browser, 1, 2)
    whole = browser.find_element(By.ID, "list")
    child = whole.find_element(By.TAG_NAME, "li")
    items = browser.find_elements(By.TAG_NAME, "li")
    write(browser, 3, 4)
    assert (child.text, whole.text, [item.text for item in items]) == ("3", "3\n4", ["3", "4"])

    browser.execute_script("document.body.innerHTML = ''")
    monkeypatch.setattr("tests.browser.chrome._FIND_AGAIN_SECONDS", 0)
    with pytest.raises(StaleElementReferenceException):
        print(child.text)
