"""Every page at both sizes, light and dark: whole, readable, reachable by keyboard, and talking to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PHONE, WIDE, Console, Watched

LOOKS = [
    pytest.param(size, scheme, id=f"{size['width']}-{scheme}") for size in (WIDE, PHONE) for scheme in ("light", "dark")
]

NAMELESS = """() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea')]
    .filter(element => element.checkVisibility())
    .filter(element => !(element.textContent.trim() && !element.matches('select, textarea')
        || element.getAttribute('aria-label')
        || element.getAttribute('aria-labelledby')
        || element.title
        || (element.labels && [...element.labels].some(label => label.textContent.trim()))
        || (element.type === 'submit' && element.value)))
    .map(element => element.outerHTML.slice(0, 120))"""
WIDE_OF_PAGE = """() => [...document.querySelectorAll('main *')]
    .filter(element => element.checkVisibility() && !element.closest('[class*=scroll], .unseen, svg'))
    .filter(element => {
        const head = element.closest('thead')
        return !head || getComputedStyle(head).clipPath === 'none'
    })
    .filter(element => {
        const box = element.getBoundingClientRect()
        return box.width > 1 && box.right > innerWidth + 1 && getComputedStyle(element).position !== 'fixed'
    })
    .map(element => element.outerHTML.slice(0, 120))"""
PALE = """() => {
    const channel = value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
    const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255)
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
    const read = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1)
        return [...canvas.getImageData(0, 0, 1, 1).data]
    }
    const behind = element => {
        const layers = []
        for (let at = element; at; at = at.parentElement) {
            const style = getComputedStyle(at)
            if (style.backgroundImage !== 'none') return null
            const colour = read(style.backgroundColor)
            if (colour[3]) layers.push(colour)
            if (colour[3] === 255) break
        }
        let under = [255, 255, 255]
        for (const [r, g, b, a] of layers.reverse())
            under = [r, g, b].map((value, i) => value * a / 255 + under[i] * (1 - a / 255))
        return under
    }
    const found = []
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walk.nextNode()) {
        const text = walk.currentNode.textContent.trim(), element = walk.currentNode.parentElement
        if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue
        if (element.closest('svg, script, style, [disabled], [aria-disabled=true], .unseen, option')) continue
        const under = behind(element), over = read(getComputedStyle(element).color)
        if (!under || over[3] < 255) continue
        const [a, b] = [light(over), light(under)].sort((x, y) => y - x)
        const style = getComputedStyle(element)
        const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700
        const ratio = (a + 0.05) / (b + 0.05)
        if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${text.slice(0, 40)} (${element.className})`)
    }
    return found
}"""


@pytest.fixture(scope="session")
def paths(demo_call: dict[str, Any]) -> list[str]:
    return [
        "/", "/calls", f"/calls/{demo_call['uuid']}", "/calls?q=tap&outcome=booked", "/calls?q=nobodysaidthis",
        "/bookings", f"/bookings/{demo_call['booking_id']}", "/companies", "/companies/new", "/companies/1", "/figures",
        "/users", "/account",
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_every_page_is_whole(
    demo_console: Console,
    logged_in: Path,
    paths: list[str],
    window: Callable[..., Watched],
    size: dict[str, int],
    scheme: str,
) -> None:
    page = window(demo_console.url, storage_state=logged_in, viewport=size, color_scheme=scheme).page()
    faults: list[str] = []
    for path in paths:
        answer = page.goto(demo_console.url + path)
        assert answer is not None
        assert answer.status == 200, path
        page.wait_for_load_state("load")
        faults += [f"{path}: {fault}" for fault in faults_of(page)]
    assert faults == []


def faults_of(page: Page) -> list[str]:
    faults = [f"nameless {element}" for element in page.evaluate(NAMELESS)]
    faults += [f"beyond the edge {element}" for element in page.evaluate(WIDE_OF_PAGE)[:3]]
    faults += [f"pale {text}" for text in page.evaluate(PALE)[:8]]
    if page.locator("h1").count() != 1:
        faults.append("not one h1")
    if not page.title().strip():
        faults.append("no title")
    faults += [f"no {mark}" for mark in ("main", "nav", "header") if not page.locator(mark).count()]
    return faults


@pytest.mark.parametrize("path", ["/", "/calls", "/bookings", "/companies/1", "/figures"])
def test_the_keyboard_goes_everywhere_and_is_seen(
    demo_console: Console, logged_in: Path, window: Callable[..., Watched], path: str
) -> None:
    page = window(demo_console.url, storage_state=logged_in).page()
    page.goto(demo_console.url + path)
    page.wait_for_load_state("load")
    seen: list[str] = []
    for _ in range(150):
        page.keyboard.press("Tab")
        at, ring = page.evaluate(
            """() => {
                const element = document.activeElement, style = getComputedStyle(element)
                if (element === document.body) return ['', true]
                element.dataset.at ??= Math.random()
                const host = element.closest('label, .switch') ?? element
                const ringed = node => [null, '::after', '::before'].some(part => {
                    const of = getComputedStyle(node, part)
                    if (part && of.content === 'none') return false
                    return of.outlineStyle !== 'none' && parseFloat(of.outlineWidth) >= 1 || of.boxShadow !== 'none'
                })
                return [element.dataset.at + ' ' + element.outerHTML.slice(0, 100),
                    ringed(element) || ringed(host) || [...host.querySelectorAll('*')].some(ringed)
                    || element.nextElementSibling !== null && ringed(element.nextElementSibling)]
            }"""
        )
        if not at or at in seen:
            break
        assert ring, f"no ring around {at}"
        seen.append(at)
    assert "skip" in seen[0].lower()
    assert len(seen) > 8
