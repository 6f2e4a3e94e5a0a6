"""Languages as people write them in lists, brought to the codes that Whisper and langdetect use."""

from __future__ import annotations

import re

_CODES_TEXT = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel
bg:bul bi:bis bm:bam bn:ben bo:bod,tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces,cze
cu:chu cv:chv cy:cym,wel da:dan de:deu,ger dv:div dz:dzo ee:ewe el:ell,gre en:eng eo:epo es:spa
et:est eu:eus,baq fa:fas,per ff:ful fi:fin fj:fij fo:fao fr:fra,fre fy:fry ga:gle gd:gla gl:glg
gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye,arm hz:her ia:ina
id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl,ice it:ita iu:iku ja:jpn jv:jav ka:kat,geo kg:kon
ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir lb:ltz
lg:lug li:lim ln:lin lo:lao lt:lit lu:lub lv:lav la:lat mg:mlg mh:mah mi:mri,mao mk:mkd,mac ml:mal
mn:mon mr:mar ms:msa,may mt:mlt my:mya,bur na:nau nb:nob nd:nde ne:nep ng:ndo nl:nld,dut nn:nno
no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan pi:pli pl:pol ps:pus pt:por
qu:que rm:roh rn:run ro:ron,rum ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag si:sin sk:slk,slo
sl:slv sm:smo sn:sna so:som sq:sqi,alb sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam te:tel
tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr
ur:urd uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho,chi,cmn zu:zul
"""  # ISO 639-1, with the codes of ISO 639-2 (both sorts) for the same language
_CODES = _CODES_TEXT.split()
_BY_CODE = {two: two for two, _, _ in (c.partition(":") for c in _CODES)}
_BY_CODE |= {three: c[:2] for c in _CODES for three in c[3:].split(",")}
_BY_CODE |= {"haw": "haw", "yue": "yue", "jw": "jv", "iw": "he", "in": "id", "ji": "yi"}
# Hawaiian and Cantonese have no two letters, and Whisper knows them; the others are older codes.
_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8})*")
UNKNOWN = frozenset({"", "und", "unknown", "mul", "zxx"})


def language_code(stated: str) -> str | None:
    """Returns the ISO 639-1 code of a language tag, such as "en" of "EN", "en-US" or "eng".

    None where the tag says that the language is unknown, such as "und" or "". Languages without two
    letters that Whisper knows keep their three: "haw", "yue".

    Raises:
        ValueError: it is no language tag.
    """
    if stated.strip().lower() in UNKNOWN:
        return None
    found = _TAG.fullmatch(stated.strip())
    code = _BY_CODE.get(found[1].lower()) if found else None
    if code is None:
        raise ValueError(f"{stated!r} is no language code")
    return code
