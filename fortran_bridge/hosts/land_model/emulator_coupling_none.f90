! SPDX-License-Identifier: Apache-2.0
!> The model without coupler_plugin: the same module as in `emulator_coupling.f90`, with nothing behind it.
module emulator_coupling
   use cells, only: cells_t
   use disaggregation, only: atmosphere_t
   use land_state, only: land_t
   use parallel, only: parallel_t, stop_all
   implicit none
   private
   public :: emulator_coupling_t

   type :: emulator_coupling_t
      logical, allocatable :: gives_lai(:)
         !! Cells whose leaf area an emulator has written: none.
   contains
      procedure :: start
      procedure :: step
      procedure :: finish
   end type emulator_coupling_t

contains

   subroutine start(self, active, config, start_date, owned, ranks, air, land)
      !! Refuse to couple.
      class(emulator_coupling_t), intent(out) :: self
      logical, intent(in) :: active
      character(len=*), intent(in) :: config
      character(len=*), intent(in) :: start_date
      type(cells_t), intent(in) :: owned
      type(parallel_t), intent(in) :: ranks
      type(atmosphere_t), target, intent(inout) :: air
      type(land_t), target, intent(inout) :: land

      if (active) call stop_all('the namelist asks for emulators ('//config//'), but this executable was built ' &
         //'without coupler_plugin; build it with -DCOUPLER=ON or set coupled = .false.')
      allocate (self%gives_lai(owned%count), source=.false.)
      associate (unused_1 => start_date, unused_2 => ranks, unused_3 => air, unused_4 => land)
      end associate
   end subroutine start

   subroutine step(self, land)
      class(emulator_coupling_t), intent(inout) :: self
      type(land_t), target, intent(inout) :: land

      associate (unused_1 => self, unused_2 => land)
      end associate
   end subroutine step

   subroutine finish(self)
      class(emulator_coupling_t), intent(inout) :: self

      associate (unused => self)
      end associate
   end subroutine finish
end module emulator_coupling
