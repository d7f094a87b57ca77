// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IMemberList } from "./interfaces/IMemberList.sol";

/// @title A list of the members of a closed federation, which votes change.
contract MemberList is IMemberList {
    /// @inheritdoc IMemberList
    address public immutable override governance;

    mapping(address account => bool) private _members;

    /// @param governance_ Who changes the list: the timelock.
    /// @param members The first members.
    constructor(address governance_, address[] memory members) {
        if (governance_ == address(0)) revert MemberListZeroAddress();
        governance = governance_;
        for (uint256 i = 0; i < members.length; ++i) {
            _set(members[i], true);
        }
    }

    /// @inheritdoc IMemberList
    function setMembers(address[] calldata accounts, bool member) external {
        if (msg.sender != governance) revert MemberListNotGovernance(msg.sender, governance);
        for (uint256 i = 0; i < accounts.length; ++i) {
            _set(accounts[i], member);
        }
    }

    /// @notice Whether `account` is a member.
    function admits(address account) external view returns (bool) {
        return _members[account];
    }

    function _set(address account, bool member) private {
        if (account == address(0)) revert MemberListZeroAddress();
        _members[account] = member;
        emit MemberSet(account, member);
    }
}
